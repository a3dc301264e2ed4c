"""Completions of an open run on disk, by generation, counted as they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from overnight.flows.night.progress import Progress
from overnight.schemas.errors import DiskFault, EnvironmentFault
from overnight.schemas.outcome import StoredVerdict
from overnight.schemas.program import QUESTION, TURN, Completion
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.journal import Journal, Key
from overnight.tasks.sample.budget import RequestsInFlight


@dataclass
class RequestLimits:
    """Limits on requests, beside the budget: the deadline, whether answers can be kept, whether the night closes.

    They are read and changed from any thread.

    Attributes:
        files: Files of the run, to which answers are written.
        in_flight: Requests that are not answered yet.
        fault: Why the last answers could not be kept; `None` if they could.
    """

    files: RunFiles
    in_flight: RequestsInFlight
    until: datetime | None = None
    fault: EnvironmentFault | None = None
    is_closing: bool = False
    _noting: threading.Lock = field(default_factory=threading.Lock)

    def may_ask(self) -> bool:
        """Return whether there is time for a request.

        Raises:
            EnvironmentFault: If its answer could not be kept.
        """
        has_time = self.until is None or datetime.now(UTC) < self.until
        return has_time and not self.is_closing and self.may_judge()

    def may_judge(self) -> bool:
        """Return whether the scoring may ask its model, which it may after the deadline, too; raise as `may_ask`."""
        if self.fault is not None:
            raise self.fault
        self.files.require_room(self.in_flight.count() + 1)
        return True

    @contextmanager
    def noting_fault(self) -> Iterator[None]:
        """Let nothing be asked for once the block, which writes answers, has failed."""
        try:
            yield
        except EnvironmentFault as error:
            with self._noting:
                self.fault = error
            raise

    @contextmanager
    def mending(self) -> Iterator[None]:
        """Let models be asked again once the block, which writes what could not be written, has succeeded."""
        fault = self.fault
        with self.noting_fault():
            yield
        with self._noting:
            if self.fault is fault:  # else another answer could not be kept meanwhile
                self.fault = None


@dataclass(frozen=True)
class CountingStore:
    """Store of one generation's completions, which also counts them and notes whether they could be kept.

    Attributes:
        later: Returns the store of a generation to come, which takes what arrives once this one `is_settled`.
        is_settled: Set while the generation is committed: what its journal has then is what it paid for.
    """

    journal: Journal
    progress: Progress
    limits: RequestLimits
    later: Callable[[], CountingStore]
    is_settled: threading.Event = field(default_factory=threading.Event)
    _keeping: threading.Lock = field(default_factory=threading.Lock)

    def known(self) -> dict[Key, Completion]:
        return self.journal.known()

    def record(self, completions: Sequence[Completion]) -> None:
        # Counted first: they are paid for, whether they can be kept or not.
        self.progress.bought(completions)
        self._keep([replace(one, night=self.progress.night) for one in completions])

    def _keep(self, completions: Sequence[Completion]) -> None:
        with self._keeping:
            if not self.is_settled.is_set():
                with self.limits.noting_fault():
                    return self.journal.record(completions)
        return self.later()._keep(completions)

    def end_early(self, prompts: int, agent: str = "") -> None:
        """Write down that the generation has so many prompts only, for an agent if one is named."""
        with self._keeping, self.limits.noting_fault():
            self.journal.end_early(prompts, agent)

    def keep_verdicts(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Write verdicts beside the answers, unless the generation is committed or about to be."""
        with self._keeping:
            if not self.is_settled.is_set():
                self.journal.keep_verdicts(verdicts)

    def settle(self) -> None:
        """Take nothing more, so that a commit finds all that was paid for."""
        with self._keeping:
            self.is_settled.set()


class CompletionStores:
    """The completion stores of an open run's generations. Only the night's loop opens them, before they are used."""

    def __init__(self, files: RunFiles, progress: Progress, limits: RequestLimits) -> None:
        self._files = files
        self._progress = progress
        self._limits = limits
        self._stores: dict[int, CountingStore] = {}
        self._next = 0
        self._lock = threading.Lock()

    def open(self, generation: int) -> None:
        """Open the store of a generation."""
        with self._lock:
            self._open(generation).is_settled.clear()

    def _open(self, generation: int) -> CountingStore:
        self._next = max(self._next, generation)
        if generation not in self._stores:
            journal = Journal(self._files.journal(generation), self._files.backend)
            self._stores[generation] = CountingStore(journal, self._progress, self._limits, self._later)
        return self._stores[generation]

    def _later(self) -> CountingStore:
        with self._lock:
            return self._open(self._next)

    def keep_answer(self, answer: Completion) -> None:
        """Store an answer to a question of the scoring with the last generation, which is the last to be committed."""
        with self._lock:
            self._open(self._next).record([answer])

    def take_answers(self, generation: int) -> list[Completion]:
        """Return the answers to questions that are stored with a generation; nothing is stored with it any more."""
        with self._lock:
            self._next = max(self._next, generation + 1)
        self.of(generation).settle()
        return [one for one in self.known(generation).values() if one.finish_reason == QUESTION]

    def write_waiting(self) -> None:
        """Write the answers that could not be written before, and let models be asked again.

        Raises:
            EnvironmentFault: If they still cannot be written.
        """
        with self._limits.mending():
            for store in list(self._stores.values()):
                store.journal.write_waiting()

    def close(self) -> None:
        """Write what could not be written before.

        Raises:
            DiskFault: If it still cannot be written, and is lost.
        """
        try:
            self.write_waiting()
        except EnvironmentFault as error:
            if lost := sum(store.journal.waiting for store in self._stores.values()):
                raise DiskFault(
                    f"{lost} answers that are paid for could not be written and are lost: {error.message}",
                    remedy=error.remedy,
                ) from error

    def keep_verdicts(self, generation: int, verdicts: Sequence[StoredVerdict]) -> None:
        """Write verdicts on candidates of a generation beside their answers, if it is open.

        Raises:
            EnvironmentFault: If they cannot be written; then their programs may be evaluated again.
        """
        if store := self._stores.get(generation):
            store.keep_verdicts(verdicts)

    def of(self, generation: int) -> CountingStore:
        return self._stores[generation]

    def known(self, generation: int) -> Mapping[Key, Completion]:
        return self.of(generation).known()

    def samples(self, generation: int) -> dict[tuple[int, str], int]:
        """Return how many samples of each prompt are stored, by its index and hash."""
        found: dict[tuple[int, str], int] = {}
        for (index, sample, prompt_hash), completion in self.known(generation).items():
            if completion.finish_reason in (TURN, QUESTION):
                continue
            found[index, prompt_hash] = max(found.get((index, prompt_hash), 0), sample + 1)
        return found

    def forget(self, generation: int) -> None:
        """Drop the store of a generation that is over."""
        self._stores.pop(generation, None)
