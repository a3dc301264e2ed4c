"""One attempt at a generation: batches of prompts are sampled and evaluated, and their results told in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from flows.planning import prompts_per_task, turns_of
from flows.run_state import Withdrawn
from schemas.algorithm import Change, Plan, Turn
from schemas.generation import GenerationRecord
from schemas.outcome import STOPPED_BY_DEADLINE, Verdict
from schemas.program import TUNER, Candidate, Judged, Prompt
from tasks.select.selection import judge, with_failed_twins

if TYPE_CHECKING:
    from flows.session import Session

Pairs = Sequence[tuple[Candidate, Verdict]]

_QUICK_S = 0.05
"""Seconds of work on a prompt below which Prefect's two tasks cost more than the work itself."""


class NothingJudged(Exception):
    """A generation ended without a verdict. Its completions are kept for the next attempt."""


class PendingPairs(Protocol):
    """A future of the verdicts on a batch of prompts."""

    def result(self) -> Pairs:
        """Wait for the verdicts; raise the error of the first stage that failed."""
        ...

    def result_if_any(self) -> Pairs | None:
        """Return the verdicts of a batch that is done; `None` if it failed."""
        ...

    def when_done(self, call: Callable[[], None]) -> None:
        """Call a function once the batch is done, from any thread."""
        ...


class Stages(Protocol):
    """Protocol of what does the work of a generation: tasks of a flow run, or direct calls."""

    def begin(self, batch: int, prompts: Sequence[Prompt]) -> PendingPairs:
        """Begin to sample and evaluate a batch of prompts; batches are counted from 1."""
        ...

    def confirm(self, judged: Sequence[Judged]) -> list[Judged]:
        """Confirm those that would be the best of their niche."""
        ...

    def commit(self, record: GenerationRecord) -> None:
        """Commit the generation."""
        ...

    @property
    def sampled_at(self) -> float:
        """`time.monotonic()` at which the last batch so far was sampled; 0 if it is not known."""
        ...


@dataclass
class Batch:
    """Prompts that are sampled and evaluated together.

    Attributes:
        prompts: The prompts, in order.
        pairs: Their verdicts.
        done: Set once the verdicts are there.
    """

    prompts: list[Prompt]
    pairs: PendingPairs
    done: threading.Event = field(default_factory=threading.Event)


class GenerationAttempt:
    """One attempt at a generation of an open session.

    The attempt begins each batch as soon as its prompts are planned; where answers and verdicts come at once, all that
    are planned by then begin as one, so that Prefect has fewer tasks to run. It settles batches in their order, once it
    is the generation's turn: it judges and confirms candidates and tells the algorithm, which may make further plans
    due.

    Args:
        session: The open run.
        number: Number of the generation.
        stages: How its work is done.
        flow_run_id: Id of its flow run; empty without one.
        is_reset_due: Returns whether niches are reset at its end; by default, what the settings say.
    """

    def __init__(
        self,
        session: Session,
        number: int,
        stages: Stages,
        *,
        flow_run_id: str = "",
        is_reset_due: Callable[[], bool] | None = None,
    ) -> None:
        self._session = session
        self._state = session.state
        self._number = number
        self._stages = stages
        self._flow_run_id = flow_run_id
        self._is_reset_due = is_reset_due or (lambda: session.state.is_reset_due(number))
        self._version = session.state.version
        self._started_at = datetime.now(UTC)
        self._begin = time.monotonic()
        self._waiting = deque(batches_of(session))
        self._left_out: set[int] = set()
        self._samples_left = session.control.samples_left(number)
        self._in_flight: deque[Batch] = deque()
        self._begun = 0
        self._told = 0
        self._seen: dict[str, Verdict] = {}
        self._judged: list[Judged] = []
        self._changes: dict[int, tuple[Change, ...]] = {}

    def run(self) -> list[Judged]:
        """Run the attempt, commit it and return every candidate with its verdict.

        Raises:
            NothingJudged: If there was no completion, or no verdict before the deadline, or if answers that are paid
                for are left for the next night; nothing is committed then.
            Withdrawn: If the run's state was read again meanwhile.
        """
        self._session.resources.evaluator.begin_attempt(self._number)
        while self._waiting or self._in_flight:
            self._begin_due_batches()
            self._wait()
            if self._can_settle():
                self._settle(self._in_flight.popleft())
            while self._is_quick and self._can_settle():  # before the next batch, which is larger then
                self._settle(self._in_flight.popleft())
        self._require_verdicts()
        for index in range(self._told, turns_of(self._session.run)):
            self._tell(index, [])
        evaluated = time.monotonic()
        self._session.progress.enter("select")
        self._stages.commit(self._record(evaluated))
        return self._judged

    def record_of_failure(self, error: str) -> GenerationRecord:
        """Return the record of this attempt, which failed."""
        return GenerationRecord(
            number=self._number,
            attempt=self._session.files.failed_attempts(self._number) + 1,
            night=self._session.control.number,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            best=self._state.best,
            flow_run_id=self._flow_run_id,
            error=error,
        )

    def _begin_due_batches(self) -> None:
        if self._session.control.is_cut:
            self._left_out.update(index for batch in self._waiting for index in batch)
            self._waiting.clear()
        plans = self._state.plans(self._number) if self._waiting else {}
        while self._waiting and all(index in plans for index in self._waiting[0]):
            if due := {index: plan for index in self._next_batch(plans) if (plan := plans[index])}:
                self._begin_batch(self._within_limit(self._session.prompts(self._number, due)))
            if not self._waiting:
                self._session.control.all_asked(self._number)

    def _next_batch(self, plans: Mapping[int, Plan | None]) -> range:
        """Take the next batch that is planned; where work is quick, with those after it, but for the tuner's turn."""
        batch = self._waiting.popleft()
        while self._is_quick and self._waiting:
            following = self._waiting[0]
            if following.stop > self._session.search.prompts or any(index not in plans for index in following):
                break
            batch = range(batch.start, self._waiting.popleft().stop)
        return batch

    @property
    def _is_quick(self) -> bool:
        return self._session.run.problem.settings.sampling.batch is None and self._session.work_s < _QUICK_S

    def _within_limit(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Leave out samples beyond the night's limit, unless they are paid for; the algorithm is told of none then."""
        if self._samples_left is None:
            return list(prompts)
        known = self._session.stored_samples(self._number)
        limited = []
        for prompt in prompts:
            wanted = prompt.samples
            if prompt.model != TUNER:
                wanted = min(wanted, max(self._samples_left, known.get((prompt.index, prompt.hash), 0)))
                self._samples_left = max(0, self._samples_left - wanted)
            limited.append(replace(prompt, seeds=prompt.seeds[:wanted]))
        return limited

    def _begin_batch(self, prompts: list[Prompt]) -> None:
        self._begun += 1
        batch = Batch(prompts, self._stages.begin(self._begun, prompts))
        self._in_flight.append(batch)
        batch.pairs.when_done(lambda: self._note_done(batch))

    def _note_done(self, batch: Batch) -> None:
        """Note that a batch is evaluated, or has failed; called from the thread that did it."""
        try:
            if pairs := batch.pairs.result_if_any():
                self._begin_confirmations(pairs)
        finally:
            with self._state.changed:
                batch.done.set()
                self._state.changed.notify_all()

    def _begin_confirmations(self, pairs: Pairs) -> None:
        """Start confirmations that are likely to be needed when it is the turn of these candidates."""
        if confirmer := self._session.resources.confirmer:
            judged = self._judge(pairs, dict(self._seen))
            for prompt in {one.candidate.prompt.index for one in judged}:
                mine = [one for one in judged if one.candidate.prompt.index == prompt]
                confirmer.begin(mine, self._state.niche_bests, self._number)

    def _judge(self, pairs: Pairs, seen: dict[str, Verdict]) -> list[Judged]:
        run = self._session.run
        return judge(run.run_id, self._number, pairs, run.problem.settings.reducer, self._state.known, seen)

    def _wait(self) -> None:
        """Wait until there is something to do."""
        with self._state.changed:
            self._state.changed.wait_for(self._has_something_to_do)
            if self._is_withdrawn():
                raise Withdrawn

    def _has_something_to_do(self) -> bool:
        if self._is_withdrawn() or self._can_settle():
            return True
        if not self._waiting:
            return not self._in_flight
        return self._session.control.is_cut or self._waiting[0][-1] in self._state.plans(self._number)

    def _is_withdrawn(self) -> bool:
        # One that began early may find that the night has ended by the time that its flow run has started.
        return self._state.version != self._version or self._session.control.is_over

    def _can_settle(self) -> bool:
        is_turn = self._number <= self._state.generations + 1 and self._session.control.has_turn(self._number)
        return is_turn and bool(self._in_flight) and self._in_flight[0].done.is_set()

    def _settle(self, batch: Batch) -> None:
        """Judge, confirm and tell of the results of a batch, prompt by prompt."""
        self._session.progress.enter("sample and evaluate", self._number)
        pairs = batch.pairs.result()
        self._session.work_s = _work_s(pairs) / len(batch.prompts)
        for prompt in batch.prompts:
            mine = [pair for pair in pairs if pair[0].prompt.index == prompt.index]
            judged = self._confirmed(self._judge(mine, self._seen))
            self._tell(prompt.index, with_failed_twins(judged, self._seen))

    def _confirmed(self, judged: list[Judged]) -> list[Judged]:
        confirmer = self._session.resources.confirmer
        if confirmer is None or not confirmer.concerns(judged, self._state.niche_bests):
            return judged
        self._session.progress.enter("confirm")
        return self._stages.confirm(judged)

    def _tell(self, index: int, judged: Sequence[Judged]) -> None:
        judged = self._state.with_gains(judged)
        self._judged += judged
        is_last = index == turns_of(self._session.run) - 1
        reset = is_last and self._state.is_in_order(self._number) and self._is_reset_due()
        if changes := self._state.tell(Turn(self._number, index), judged, reset=reset):
            self._changes[index] = changes
        self._told = index + 1

    def _require_verdicts(self) -> None:
        is_cut = self._session.control.is_cut
        if not self._judged or (is_cut and all(one.verdict == STOPPED_BY_DEADLINE for one in self._judged)):
            raise NothingJudged
        if self._has_unused_answers() and not self._session.last_night_committed_nothing():
            raise NothingJudged

    def _has_unused_answers(self) -> bool:
        """Return whether an earlier attempt paid for answers to prompts that the deadline leaves out now.

        The commit would lose them. They are worth another night, but not one after the other that commits nothing.
        """
        left_out = self._left_out
        return bool(left_out) and any(index in left_out for index, _ in self._session.stored_samples(self._number))

    def _record(self, evaluated: float) -> GenerationRecord:
        programs = [one.program() for one in self._judged if one.score is not None]
        return GenerationRecord(
            number=self._number,
            attempt=self._session.files.failed_attempts(self._number) + 1,
            night=self._session.control.number,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
            best=max([self._state.best, *programs], key=lambda program: program.score),
            judged=tuple(self._judged),
            changes=self._changes,
            sample_s=max(0.0, self._stages.sampled_at - self._begin),
            evaluate_s=evaluated - self._begin,
            select_s=time.monotonic() - evaluated,
            flow_run_id=self._flow_run_id,
            place=self._state.place,
            unused_usd=self._session.unused_usd(self._number, self._judged),
        )


def _work_s(pairs: Pairs) -> float:
    """Return the seconds that models and the sandbox took for a batch, as if one program ran at a time."""
    latency_s = max((candidate.completion.latency_s for candidate, _ in pairs), default=0.0)
    return latency_s + sum(verdict.wall_s for _, verdict in pairs)


def batches_of(session: Session) -> list[range]:
    """Return the indices of the prompts of each batch of a generation; the tuner's turn is one of its own."""
    prompts, size = session.search.prompts, prompts_per_task(session.run)
    batches = [range(first, min(first + size, prompts)) for first in range(0, prompts, size)]
    return [*batches, range(prompts, turns_of(session.run))] if session.run.problem.tunes else batches
