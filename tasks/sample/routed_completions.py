"""A completion source that passes each sample to the source of its model, and merges the answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field

from schemas.completion_source import CompletionSource, Record, Sample
from schemas.errors import TerminalProviderError
from schemas.program import Completion

Answer = Future[list[Completion]]


@dataclass(frozen=True)
class RoutedCompletions:
    """Answers of several sources.

    Attributes:
        sources: Sources of certain models, by the name of the model.
        others: Returns the source of all other models; called only if one of their samples is wanted.
    """

    sources: Mapping[str, CompletionSource]
    others: Callable[[], CompletionSource]

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answer:
        """Begin to answer samples; see `CompletionSource.submit`."""
        groups: dict[str, list[Sample]] = {}
        for sample in wanted:
            name = sample.prompt.model if sample.prompt.model in self.sources else ""
            groups.setdefault(name, []).append(sample)
        answers = [
            (self.sources[name] if name else self.others()).submit(group, record) for name, group in groups.items()
        ]
        return answers[0] if len(answers) == 1 else _Merging(answers).answer


@dataclass
class _Merging:
    """The answers of several sources as one."""

    parts: Sequence[Answer]
    answer: Answer = field(default_factory=Future)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._left = len(self.parts)
        self.answer.add_done_callback(self._cancel_parts)
        if not self.parts:
            self.answer.set_result([])
        for part in self.parts:
            part.add_done_callback(self._count)

    def _cancel_parts(self, answer: Answer) -> None:
        if answer.cancelled():
            answer.set_running_or_notify_cancel()
            for part in self.parts:
                part.cancel()

    def _count(self, _: Answer) -> None:
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if not is_last or self.answer.cancelled() or not self.answer.set_running_or_notify_cancel():
            return
        if failures := [error for part in self.parts if (error := _error(part)) is not None]:
            self.answer.set_exception(min(failures, key=lambda error: not isinstance(error, TerminalProviderError)))
        else:
            completions = [completion for part in self.parts for completion in part.result()]
            self.answer.set_result(sorted(completions, key=lambda one: (one.prompt, one.sample)))


def _error(part: Answer) -> BaseException | None:
    return CancelledError() if part.cancelled() else part.exception()
