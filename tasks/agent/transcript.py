"""Records of what an agent did: its turns, the programs that it had scored and its queries, kept as they happen.

Each is a record of the completion store while the agent works, so that what was paid for is never asked for again; the
completion that ends its work has all of them as its transcript.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
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


def request_hash(path: str, request: Mapping[str, Any]) -> str:
    """Return 16 hex digits of a request, by which its recorded answer is found."""
    data = json.dumps([path, request], sort_keys=True)
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass
class Records:
    """The records of one sample, of this session and of one that was cut short.

    Attributes:
        used: Records of this session, in order.
    """

    prompt: Prompt
    keep: Callable[[Sequence[Completion]], None]
    used: list[Completion] = field(default_factory=list)
    _earlier: defaultdict[str, deque[Completion]] = field(default_factory=lambda: defaultdict(deque))
    _number: int = _FIRST

    def add_earlier(self, stored: Sequence[Completion]) -> None:
        """Take the records that an earlier session left."""
        own = self.prompt.index, self.prompt.hash
        mine = [one for one in stored if one.finish_reason == TURN and (one.prompt, one.prompt_hash) == own]
        for record in sorted(mine, key=lambda one: one.sample):
            self._earlier[json.loads(record.text)["request"]].append(record)
            self._number = max(self._number, record.sample + 1)

    def take(self, key: str) -> Any:
        """Return the recorded answer to a request, which is not given again; `None` if there is none."""
        if not self._earlier[key]:
            return None
        self.used.append(self._earlier[key].popleft())
        return json.loads(self.used[-1].text)["answer"]

    def add(self, key: str, answer: Any, turn: Turn | None = None, latency_s: float = 0.0) -> None:
        """Keep a turn, or an answer that cost nothing; return when it is safe."""
        usage = turn.usage if turn else Usage(0, 0, 0.0)
        record = Completion(
            prompt=self.prompt.index,
            sample=self._number,
            prompt_hash=self.prompt.hash,
            text=to_valid_text(json.dumps({"request": key, "answer": answer})),
            model=turn.model if turn else self.prompt.model,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            cost_usd=usage.cost_usd,
            latency_s=latency_s,
            finish_reason=TURN,
            asked_at=datetime.now(UTC),
            tokens_cached=usage.tokens_cached,
        )
        self._number += 1
        self.keep([record])
        self.used.append(record)

    def usage(self) -> Usage:
        """Return tokens and cost of all turns, of a session that was cut short, too; the cost is `None` if unknown."""
        spent = [*self.used, *(record for records in self._earlier.values() for record in records)]
        costs = [record.cost_usd for record in spent]
        return Usage(
            sum(record.tokens_in for record in spent),
            sum(record.tokens_out for record in spent),
            None if None in costs else sum(cost or 0.0 for cost in costs),
            sum(record.tokens_cached for record in spent),
        )


@dataclass
class Transcript:
    """The events of a session, in order, as they are stored: without what would repeat the conversation so far."""

    agent: str
    model: str
    events: list[dict[str, Any]] = field(default_factory=list)
    _messages: list[Any] = field(default_factory=list)

    def turn(self, messages: Sequence[Any], message: Mapping[str, Any], usage: Usage) -> None:
        """Add a turn, with the messages that are new since the last one."""
        same = 0
        while same < min(len(messages), len(self._messages)) and messages[same] == self._messages[same]:
            same += 1
        new = [one for one in messages[same:] if not _is_answer(one)]
        self._messages = [*messages]
        spent = {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "cost_usd": usage.cost_usd}
        self.events.append({"event": "turn", "messages": new, "answer": dict(message), **spent})

    def evaluation(self, sample: int | None, answer: Mapping[str, Any]) -> None:
        """Add a program that was scored; `sample` is its number among those of the prompt."""
        self.events.append({"event": "evaluation", "sample": sample, "answer": dict(answer)})

    def query(self, sql: str, answer: str) -> None:
        self.events.append({"event": "query", "sql": sql, "answer": answer})

    def refusal(self, path: str, reason: str) -> None:
        self.events.append({"event": "refusal", "path": path[:200], "reason": reason})

    def text(self, *, ended: str, output: str) -> str:
        """Return it as JSON, without keys that something in it may show."""
        data = {"agent": self.agent, "model": self.model, "events": self.events, "ended": ended, "output": output}
        return without_keys(to_valid_text(orjson.dumps(_valid(data)).decode()))


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
