"""The state of an open run: its committed history, and what the algorithm has been told of since."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flows.planning import Planner, rebuild
from schemas.algorithm import Change, Plan, Reset, Turn
from schemas.errors import UsageError
from schemas.generation import GenerationRecord, RunHistory, RunRecord, Step, flat
from schemas.program import Judged, Program
from tasks.history import record
from tasks.history.decode_rows import read_seconds_since_reset
from tasks.history.files import RunFiles
from tasks.select.selection import record_of, results_of


class Withdrawn(Exception):
    """An attempt at a generation is over, since the state that it was begun with is no longer the run's."""


class RunState:
    """The state of an open run.

    Generations under way read it from their own threads. Only the one whose turn it is changes it. After a failure the
    state is read again from the files; generations that were begun with the former state are then withdrawn.

    Attributes:
        changed: Condition that is notified of each change; its lock guards the plans.
        version: Number of times that the state was read again.
        start: The start program.
        best: The best program of the run so far, alive or not.
        generations: Number of the last generation that ended, committed or given up.
        failed: Numbers of generations that were given up and not committed since.
        place: Position in the order of endings that the next generation to end will have.
        programs: All scored programs by id.
        hashes: Code hashes of all bodies evaluated so far.
    """

    planner: Planner
    start: Program
    best: Program
    generations: int
    failed: set[int]
    place: int
    programs: dict[str, Program]
    hashes: set[str]

    def __init__(self, files: RunFiles, run: RunRecord, history: RunHistory) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 0
        self._files = files
        self._run = run
        self._planners_of_failed: dict[int, Planner] = {}
        self._under_way: list[int] = []
        self._is_stale = False
        # As if nights followed each other without a gap.
        self._last_reset = time.monotonic()
        if run.problem.settings.search.algorithm.resets_by_the_hour:
            self._last_reset -= read_seconds_since_reset(files)
        self._adopt(history)

    @property
    def known(self) -> set[str] | None:
        """Code hashes of all evaluated bodies; `None` where the algorithm evaluates duplicates again."""
        evaluates_duplicates = self._run.problem.settings.search.algorithm.evaluates_duplicates
        return None if evaluates_duplicates else self.hashes

    @property
    def niche_bests(self) -> dict[str, float]:
        """Best score of each niche."""
        with self.changed:
            return {name: niche.best.score for name, niche in self.planner.algorithm.niches.items()}

    def is_committed(self, number: int) -> bool:
        return number <= self.generations and number not in self.failed

    def is_in_order(self, number: int) -> bool:
        """Return whether a generation comes after all that have ended, and is not a retry of one that failed."""
        return number > self.generations

    @contextlib.contextmanager
    def under_way(self, number: int) -> Iterator[None]:
        """Count a generation as under way within the context.

        Raises:
            UsageError: If it does not follow one that has ended or is under way.
        """
        with self.changed:
            if self.is_ahead(number) and number - 1 not in self._under_way:
                raise UsageError(
                    f"generation {number} of {self._run.run_id} has no turn yet: {self.generations + 1} is the next"
                )
            self._under_way.append(number)
        try:
            yield
        finally:
            with self.changed:
                self._under_way.remove(number)

    def is_reset_due(self, generation: int) -> bool:
        """Return whether niches are reset at the end of a generation."""
        hours = (time.monotonic() - self._last_reset) / 3600
        return self._run.problem.settings.search.algorithm.is_reset_due(generation, hours)

    def is_ahead(self, number: int) -> bool:
        """Return whether a generation comes after one that has not ended."""
        return number > self.generations + 1

    def plans(self, generation: int) -> dict[int, Plan | None]:
        """Return the plans of a generation that are due, by index; `None` for a turn of the tuner that passes."""
        with self.changed:
            planner = self.planner if self.is_in_order(generation) else self._planner_of_failed(generation)
            return {turn.index: plan for turn, plan in planner.plans.items() if turn.generation == generation}

    def _planner_of_failed(self, generation: int) -> Planner:
        """Return a planner as it was when a generation was given up, so that its retry gets the same prompts."""
        if generation not in self._planners_of_failed:
            history = self._read().before_failure_of(generation)
            self._planners_of_failed[generation] = rebuild(self._run, history)
        return self._planners_of_failed[generation]

    def with_gains(self, judged: Sequence[Judged]) -> list[Judged]:
        """Return candidates with what each gained on its base, before the algorithm is told of them."""
        with self.changed:
            return [replace(one, gain=self.planner.gain_of(one.feedback())) for one in judged]

    def tell(self, turn: Turn, judged: Sequence[Judged], *, reset: bool) -> tuple[Change, ...]:
        """Tell the algorithm of the results of a prompt; return what changed."""
        results, record = results_of(judged), record_of(judged)
        with self.changed:
            if self.is_in_order(turn.generation):
                changes = self.planner.tell(turn, results, record, reset=reset)
            else:
                self._planner_of_failed(turn.generation).tell(turn, results, record, reset=False)
                changes = self.planner.tell_out_of_order(turn.generation, results, record)
            self.changed.notify_all()
            return changes

    def commit(self, generation: GenerationRecord) -> None:
        """Commit a generation to the files, and count it as ended."""
        record.commit(self._files, generation)
        with self.changed:
            self.best = generation.best
            self.hashes.update(
                one.candidate.code_hash
                for one in generation.judged
                if one.candidate.body and one.verdict.outcome.facts.counts_as_known
            )
            self.programs.update((one.id, one.program()) for one in generation.judged if one.score is not None)
            if any(isinstance(change, Reset) for change in flat(generation.changes)):
                self._last_reset = time.monotonic()
            self._end(generation.number)

    def give_up(self, number: int) -> None:
        """Continue without a generation that failed; its completions are kept for a retry.

        Raises:
            EnvironmentFault: If that cannot be written; the generation is not given up then.
        """
        record.give_up(self._files, number, self.place)
        with self.changed:
            if self.is_in_order(number):
                self.planner.replay(Step(number, is_committed=False), {})
            self._end(number)
            self.failed.add(number)

    def _end(self, number: int) -> None:
        self.place += 1
        if self.is_in_order(number):
            self.generations = number
        else:
            self.failed.discard(number)
        self.planner.forget(number)
        self._planners_of_failed.pop(number, None)
        self.changed.notify_all()

    def settle(self) -> None:
        """Read the state again if that failed before, or if the last write to object storage had no answer."""
        if self._is_stale or self._files.is_unsure():
            self.reload()

    def reload(self) -> None:
        """Read everything that is committed again, after an attempt that failed half-way.

        Raises:
            StoreUnavailable: If the history is on object storage that does not answer.
        """
        self._is_stale = True  # until it is read: the algorithm may have been told of what is not committed
        self.withdraw()
        self._files.catch_up()
        self._adopt(self._read())

    def withdraw(self) -> None:
        """Withdraw all generations under way."""
        with self.changed:
            self.version += 1
            self.changed.notify_all()

    def _read(self) -> RunHistory:
        return record.read_run_history(self._files, samples=self._run.problem.settings.samples_to_learn_from)

    def _adopt(self, history: RunHistory) -> None:
        """Replace the state by what the files say."""
        planner = rebuild(self._run, history)
        with self.changed:
            self.planner, self._planners_of_failed, self._is_stale = planner, {}, False
            self.start = history.start
            self.generations, self.failed, self.place = history.generations, set(history.failed), len(history.steps) + 1
            self.best = max(history.programs.values(), key=lambda program: program.score)
            self.programs = dict(history.programs)
            self.hashes = set(history.code_hashes)
            self.changed.notify_all()
