"""Records of what an agent did: its turns, the programs that it had scored and its queries, kept as they happen.

Each is a record of the completion store while the agent works, so that what was paid for is never asked for again; the
completion that ends its work has all of them as its transcript.

A session that is repeated asks for the same turns, but not in the same words: what its commands print differs, such as
times. So a turn is found by what its model had answered before, and among several of these, by its place.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
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


def turn_hash(request: Mapping[str, Any]) -> str:
    """Return the hash of the model's own earlier answers in a request for its next turn, and of its tools.

    It leaves out the ids of calls, and all that others said.
    """
    tools = [tool["function"]["name"] for tool in request.get("tools", ())]
    answers = [
        [one.get("content"), [call["function"] for call in one.get("tool_calls", ())]]
        for one in request["messages"]
        if _is_answer(one)
    ]
    return request_hash("turn", {"answers": answers, "tools": tools})


@dataclass
class Transcript:
    """Record of an agent's work for one sample: kept as it happens, of all sessions, and told as events of the last.

    Attributes:
        keep: Stores a record; it is safe when it returns.
        events: Events in order, without what would repeat the conversation so far.
        earlier_s: Seconds of earlier sessions, which were cut short.
        scored: Programs that earlier sessions had scored, with the answers about them, by the text that holds each.
    """

    agent: str
    prompt: Prompt
    keep: Callable[[Sequence[Completion]], None]
    events: list[dict[str, Any]] = field(default_factory=list)
    earlier_s: float = 0.0
    scored: dict[str, Any] = field(default_factory=dict)
    _records: list[Completion] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _unused: defaultdict[str, list[Completion]] = field(default_factory=lambda: defaultdict(list))
    _messages: list[Any] = field(default_factory=list)
    _chars: int = 0

    def add_earlier(self, stored: Iterable[Completion]) -> None:
        """Take the records of earlier sessions, which were cut short: what they spent counts."""
        own = self.prompt.index, self.prompt.hash
        mine = [one for one in stored if one.finish_reason == TURN and (one.prompt, one.prompt_hash) == own]
        for record in sorted(mine, key=lambda one: one.sample):
            what = json.loads(record.text)
            self._unused[what["key"]].append(record)
            self._count(record, what["path"])
            self.earlier_s = max(self.earlier_s, what["seconds"])
            if "program" in what:
                self.scored[what["program"]] = what["answer"]

    def recorded(self, key: str, request: str = "") -> Completion | None:
        """Return the record of an answer, which is not given again; `None` if there is none.

        Of several, it is that to the very same request, such as one of two that were asked at the same time, else the
        first.
        """
        found = self._unused[key]
        same = [one for one in found if request and json.loads(one.text)["request"] == request]
        if not found:
            return None
        record = same[0] if same else found[0]
        found.remove(record)
        return record

    def record(
        self,
        path: str,
        answer: Any,
        seconds: float,
        *,
        key: str,
        request: str = "",
        turn: Turn | None = None,
        latency_s: float = 0.0,
        **more: str,
    ) -> Completion:
        """Keep a turn, or an answer that cost nothing; return its record when it is safe.

        Args:
            path: Path that was asked.
            answer: The answer.
            seconds: Seconds of the sample so far.
            key: What it is found by.
            request: Hash of the whole request, where several may have the same key.
            turn: What the model answered, and its price.
            latency_s: Seconds that the model took.
            more: What else is to be known of it.
        """
        usage = turn.usage if turn else Usage(0, 0, 0.0)
        what = {"key": key, "request": request, "path": path, "seconds": round(seconds, 3), "answer": answer, **more}
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

    def refusal(self, path: str, reason: str, asked: str = "") -> None:
        """Tell of a request that was refused; `asked` is its query, if it had one."""
        more = {"asked": asked} if asked else {}
        self._tell({"event": "refusal", "path": path[:200], "reason": reason, **more})

    def _tell(self, event: dict[str, Any]) -> None:
        """Add an event, until there are more than anybody reads: an agent may ask without end."""
        self._chars += len(orjson.dumps(_valid(event)))
        if self._chars <= _MOST_CHARS:
            self.events.append(event)

    def text(self, *, ended: str, output: str, files: Mapping[str, str]) -> str:
        """Return it as JSON, without keys that something in it may show."""
        data = {"agent": self.agent, "model": self.prompt.model, "events": self.events, "ended": ended}
        return without_keys(to_valid_text(orjson.dumps(_valid({**data, "output": output, "files": files})).decode()))


def answer_of(record: Completion) -> Any:
    return json.loads(record.text)["answer"]


def _is_answer(message: Any) -> bool:
    """Return whether a message is the model's own, which the turn before has."""
    return isinstance(message, dict) and message.get("role") == "assistant"


def _valid(data: Any) -> Any:
    """Return data whose texts can be stored."""
    if isinstance(data, str):
        return to_valid_text(data)
    if isinstance(data, Mapping):
        return {to_valid_text(str(key)): _valid(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_valid(value) for value in data]
    return data
