"""Completions of an open run on disk, by generation, counted as they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flows.night_control import NightControl
from flows.progress import Progress
from schemas.errors import EnvironmentFault
from schemas.program import Completion
from tasks.history.files import RunFiles
from tasks.history.journal import Journal

Key = tuple[int, int, str]


@dataclass(frozen=True)
class CountingStore:
    """Store of one generation's completions, which also counts them and notes whether they could be kept."""

    journal: Journal
    progress: Progress
    control: NightControl

    def known(self) -> dict[Key, Completion]:
        return self.journal.known()

    def record(self, completions: Sequence[Completion]) -> None:
        # Counted first: they are paid for, whether they can be kept or not.
        self.progress.bought(completions)
        try:
            self.journal.record(completions)
        except EnvironmentFault:
            self.control.note_disk(can_keep=False)
            raise


class CompletionStores:
    """The completion stores of all generations of an open run. Methods may be called from any thread."""

    def __init__(self, files: RunFiles, progress: Progress, control: NightControl) -> None:
        self._files = files
        self._progress = progress
        self._control = control
        self._stores: dict[int, CountingStore] = {}
        self._lock = threading.Lock()

    def of(self, generation: int) -> CountingStore:
        """Return the store of a generation."""
        with self._lock:
            if generation not in self._stores:
                journal = Journal(self._files.journal(generation), self._files.backend)
                self._stores[generation] = CountingStore(journal, self._progress, self._control)
            return self._stores[generation]

    def known(self, generation: int) -> Mapping[Key, Completion]:
        return self.of(generation).known()

    def record(self, generation: int, completions: Sequence[Completion]) -> None:
        self.of(generation).record(completions)

    def forget(self, is_over: Callable[[int], bool]) -> None:
        """Drop the stores of generations that are over."""
        with self._lock:
            self._stores = {number: store for number, store in self._stores.items() if not is_over(number)}
