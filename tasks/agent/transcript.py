"""Records of what an agent did: its turns, the programs that it had scored and its queries, kept as they happen.

Each is a record of the completion store while the agent works, so that what was paid for is never asked for again; the
completion that ends its work has all of them as its transcript.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from overnight.schemas.errors import without_keys
from overnight.schemas.program import TURN, Completion, Prompt
from overnight.tasks.sample.provider import Turn
from overnight.tasks.sample.providers import Usage, to_valid_text

_FIRST = 1000
"""Number of the first record, beyond those of samples."""

_MOST_CHARS = 32 * 2**20
"""Most bytes of the events that are told; records have no limit but those of turns, evaluations and queries."""


def request_hash(path: str, request: Mapping[str, Any]) -> str:
    """Return 16 hex digits of a request, by which its recorded answer is found."""
    data = json.dumps([path, request], sort_keys=True)
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass
class Transcript:
    """What an agent did for one sample: kept as it happens, of all sessions, and told as events of the present one.

    Attributes:
        keep: Stores a record; it is safe when it returns.
        events: What happened, in order, without what would repeat the conversation so far.
    """

    agent: str
    prompt: Prompt
    keep: Callable[[Sequence[Completion]], None]
    events: list[dict[str, Any]] = field(default_factory=list)
    _records: list[Completion] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _unused: defaultdict[str, deque[Completion]] = field(default_factory=lambda: defaultdict(deque))
    _earlier_s: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _messages: list[Any] = field(default_factory=list)
    _chars: int = 0

    def add_earlier(self, stored: Iterable[Completion]) -> None:
        """Take the records of earlier sessions, which were cut short: what they spent counts."""
        own = self.prompt.index, self.prompt.hash
        mine = [one for one in stored if one.finish_reason == TURN and (one.prompt, one.prompt_hash) == own]
        for record in sorted(mine, key=lambda one: one.sample):
            what = json.loads(record.text)
            self._unused[what["request"]].append(record)
            self._count(record, what["path"])
            self._earlier_s = max(self._earlier_s, what["seconds"])

    def recorded(self, key: str) -> Completion | None:
        """Return the record of a request's answer, which is not given again; `None` if there is none."""
        return self._unused[key].popleft() if self._unused[key] else None

    def record(self, path: str, key: str, answer: Any, turn: Turn | None = None, latency_s: float = 0.0) -> Completion:
        """Keep a turn, or an answer that cost nothing; return its record when it is safe."""
        usage = turn.usage if turn else Usage(0, 0, 0.0)
        what = {"request": key, "path": path, "seconds": round(self.seconds(), 3), "answer": answer}
        record = Completion(
            prompt=self.prompt.index,
            sample=max([_FIRST - 1, *(one.sample for one in self._records)]) + 1,
            prompt_hash=self.prompt.hash,
            text=json.dumps(_valid(what)),
            model=turn.model if turn else self.prompt.model,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            cost_usd=usage.cost_usd,
            latency_s=latency_s,
            finish_reason=TURN,
            asked_at=datetime.now(UTC),
            tokens_cached=usage.tokens_cached,
        )
        self.keep([record])
        self._count(record, path)
        return record

    def _count(self, record: Completion, path: str) -> None:
        self._records.append(record)
        self._counts[path] += 1

    # What all sessions spent

    def number_of(self, path: str) -> int:
        """Return how many requests to a path were answered."""
        return self._counts[path]

    def seconds(self) -> float:
        return self._earlier_s + time.monotonic() - self._began

    def usage(self) -> Usage:
        """Return tokens and cost of all turns; the cost is `None` if unknown."""
        costs = [record.cost_usd for record in self._records]
        return Usage(
            sum(record.tokens_in for record in self._records),
            sum(record.tokens_out for record in self._records),
            None if None in costs else sum(cost or 0.0 for cost in costs),
            sum(record.tokens_cached for record in self._records),
        )

    # What is told

    def turn(self, messages: Sequence[Any], record: Completion) -> None:
        """Tell of a turn, with the messages that are new since the last one."""
        same = 0
        while same < min(len(messages), len(self._messages)) and messages[same] == self._messages[same]:
            same += 1
        new = [one for one in messages[same:] if not _is_answer(one)]
        self._messages = [*messages]
        answer = answer_of(record)["choices"][0]["message"]
        spent = {"tokens_in": record.tokens_in, "tokens_out": record.tokens_out, "cost_usd": record.cost_usd}
        self._tell({"event": "turn", "messages": new, "answer": answer, **spent})

    def evaluation(self, sample: int | None, answer: Mapping[str, Any]) -> None:
        """Tell of a program that was scored; `sample` is its number among those of the prompt."""
        self._tell({"event": "evaluation", "sample": sample, "answer": dict(answer)})

    def query(self, sql: str, answer: str) -> None:
        self._tell({"event": "query", "sql": sql, "answer": answer})

    def refusal(self, path: str, reason: str) -> None:
        self._tell({"event": "refusal", "path": path[:200], "reason": reason})

    def _tell(self, event: dict[str, Any]) -> None:
        """Add an event, until there are more than anybody reads: an agent may ask without end."""
        self._chars += len(orjson.dumps(_valid(event)))
        if self._chars <= _MOST_CHARS:
            self.events.append(event)

    def text(self, *, ended: str, output: str) -> str:
        """Return it as JSON, without keys that something in it may show."""
        data = {"agent": self.agent, "model": self.prompt.model, "events": self.events, "ended": ended}
        return without_keys(to_valid_text(orjson.dumps(_valid({**data, "output": output})).decode()))


def answer_of(record: Completion) -> Any:
    return json.loads(record.text)["answer"]


def _is_answer(message: Any) -> bool:
    """Return whether a message is the model's own, which the turn before has."""
    return isinstance(message, dict) and message.get("role") == "assistant"


def _valid(data: Any) -> Any:
    """Return data whose texts can be stored."""
    if isinstance(data, str):
        return to_valid_text(data)
    if isinstance(data, dict):
        return {to_valid_text(str(key)): _valid(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_valid(value) for value in data]
    return data
