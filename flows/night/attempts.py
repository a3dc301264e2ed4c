"""The attempts at generations that are under way, and the generations that wait for their commit. Plain data."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from overnight.flows.night.block import Block
from overnight.flows.night.events import Clock, Evaluated
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.program import Program

_QUICK_S = 0.05
"""Seconds of work on a prompt below which Prefect's two tasks cost more than the work itself."""


@dataclass
class Attempt:
    """An attempt at a generation.

    Attributes:
        key: Its number among all attempts of the night.
        failed: Number of attempts before it that failed.
        error: Error of its work or its flow run.
        record: Record to be committed, until it is.
        is_pruning: Whether the best program is being pruned, before its commit.
        is_taking_place: Whether its place is being written down, as that of a session which is put off.
        is_over: Whether nothing more is done for it but a commit.
        is_withdrawn: Whether it is ended since another failed; nobody waits for it.
        confirming: Ids of claims that are being run again.
    """

    key: int
    number: int
    started_at: datetime
    begin: float
    block: Block | None = None
    failed: int = 0
    sampled_at: float = 0.0
    evaluated_at: float = 0.0
    error: Exception | None = None
    record: GenerationRecord | None = None
    is_pruning: bool = False
    is_committing: bool = False
    is_taking_place: bool = False
    is_over: bool = False
    is_withdrawn: bool = False
    confirming: set[str] = field(default_factory=set)

    def note_evaluated(self, evaluated: Evaluated, block: Block, clock: Clock) -> None:
        """Take the verdicts on the candidates of some prompts."""
        self.sampled_at = max(self.sampled_at, evaluated.sampled_at)
        self.evaluated_at = clock.seconds
        block.receive(evaluated.prompts, evaluated.pairs)
        latency_s = max((candidate.completion.latency_s for candidate, _ in evaluated.pairs), default=0.0)
        work_s = latency_s + sum(verdict.wall_s for _, verdict in evaluated.pairs)
        block.is_quick = bool(evaluated.prompts) and work_s / len(evaluated.prompts) < _QUICK_S

    def base_record(self, night: int, best: Program, clock: Clock, error: str = "") -> GenerationRecord:
        """Return the record of the generation as far as it does not depend on its programs."""
        evaluated = self.evaluated_at or clock.seconds
        return GenerationRecord(
            number=self.number,
            attempt=self.failed + 1,
            night=night,
            started_at=self.started_at,
            ended_at=clock.now,
            best=best,
            sample_s=0.0 if error else max(0.0, self.sampled_at - self.begin),
            evaluate_s=0.0 if error else evaluated - self.begin,
            select_s=0.0 if error else clock.seconds - evaluated,
            error=error,
        )


class Attempts:
    """The attempts whose flow runs have not ended.

    Attributes:
        uncommitted: Attempts whose generation is settled and not committed, in order.
    """

    def __init__(self) -> None:
        self.uncommitted: deque[Attempt] = deque()
        self._keys = itertools.count(1)
        self._by_key: dict[int, Attempt] = {}

    def begin(self, number: int, clock: Clock) -> Attempt:
        attempt = Attempt(next(self._keys), number, clock.now, clock.seconds)
        self._by_key[attempt.key] = attempt
        return attempt

    def end(self, attempt: Attempt) -> None:
        """Forget an attempt whose flow run has ended."""
        del self._by_key[attempt.key]

    def find(self, key: int) -> Attempt | None:
        return self._by_key.get(key)

    @property
    def open(self) -> list[Attempt]:
        """Attempts that are not over, by generation."""
        return sorted((one for one in self._by_key.values() if not one.is_over), key=lambda one: one.number)

    def at(self, number: int) -> Attempt | None:
        return next((one for one in self.open if one.number == number), None)

    @property
    def have_ended(self) -> bool:
        return not self._by_key

    @property
    def are_withdrawn(self) -> bool:
        """Whether nobody waits for any of them."""
        return all(one.is_withdrawn for one in self._by_key.values())

    def withdraw(self) -> list[Attempt]:
        """End all but a commit that is under way; return those that it ended."""
        ended = []
        for attempt in self._by_key.values():
            waits = attempt.record is not None and not attempt.is_committing
            if not attempt.is_withdrawn and (waits or not attempt.is_over):
                attempt.is_over = attempt.is_withdrawn = True
                ended.append(attempt)
        return ended

    def settle(self, attempt: Attempt, record: GenerationRecord) -> None:
        """Let a generation wait for its commit, which comes after those before it."""
        attempt.record, attempt.is_over = record, True
        self.uncommitted.append(attempt)

    def commit_first(self) -> Attempt | None:
        """Begin the commit of the first generation that waits for it, and return its attempt; `None` if none may."""
        first = self.uncommitted[0] if self.uncommitted else None
        if first is None or first.record is None or first.is_withdrawn or first.is_pruning:
            return None
        first.is_committing = True
        return first

    def note_committed(self) -> None:
        """Take the first generation off those that wait."""
        self.uncommitted.popleft().record = None
