"""Common part of completion sources, and those that ask no model: one answers from a record, one passes samples on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from overnight.schemas.completion_source import Answer, CompletionSource, Record, Sample
from overnight.schemas.errors import TerminalProviderError
from overnight.schemas.program import Completion
from overnight.tasks.sample.providers import Choice, Usage

Key = tuple[int, int, str]
"""Prompt, sample and the prompt's hash."""


class CompletionStore(Protocol):
    """Store of one generation's completions, from the moment they are paid for."""

    def known(self) -> Mapping[Key, Completion]:
        """Return the stored completions by prompt, sample and hash of the prompt."""
        ...

    def record(self, completions: Sequence[Completion]) -> None:
        """Store completions; return when they are on disk."""
        ...


def key_of(sample: Sample) -> Key:
    return sample.prompt.index, sample.number, sample.prompt.hash


def completions_of(
    keys: Sequence[Key], choices: Sequence[Choice], usage: Usage, *, model: str, asked_at: datetime, latency_s: float
) -> list[Completion]:
    """Return the completions that the choices of one response are; the first carries its tokens and cost."""
    usages = [usage, *[Usage(0, 0, 0.0)] * len(keys)]
    return [
        Completion(
            *key,
            text=choice.text,
            model=model,
            tokens_in=usage.tokens_in,
            tokens_out=usage.tokens_out,
            tokens_cached=usage.tokens_cached,
            cost_usd=usage.cost_usd,
            latency_s=latency_s,
            finish_reason=choice.finish_reason,
            asked_at=asked_at,
            error=f"refused: {choice.refusal}" if choice.refusal else "",
        )
        for key, choice, usage in zip(keys, choices, usages, strict=False)
    ]


def empty_completions(
    keys: Sequence[Key], error: str, finish_reason: str, *, model: str, asked_at: datetime, latency_s: float = 0.0
) -> list[Completion]:
    """Return completions without text for samples that have no answer and get none; `error` says why."""
    choices = [Choice("", finish_reason)] * len(keys)
    empty = completions_of(keys, choices, Usage(0, 0, 0.0), model=model, asked_at=asked_at, latency_s=latency_s)
    return [replace(completion, error=error) for completion in empty]


def requests_of(wanted: Iterable[Sample], takes_n: Callable[[str], bool]) -> list[list[Sample]]:
    """Return the samples of each request: those of one prompt share one if its model takes several at once."""
    groups: dict[tuple[int, int], list[Sample]] = {}
    for sample in wanted:
        number = -1 if takes_n(sample.prompt.model) else sample.number
        groups.setdefault((sample.prompt.index, number), []).append(sample)
    return list(groups.values())


def gravest(failures: Iterable[BaseException]) -> BaseException:
    """Return the error that is raised of several: one that no retry can help, if there is any."""
    return min(failures, key=lambda error: not isinstance(error, TerminalProviderError))


class RecordedCompletions:
    """The recorded completions of one generation; samples without one are left out."""

    def __init__(self, completions: Sequence[Completion]) -> None:
        self._completions = {(one.prompt, one.sample): one for one in completions}

    def submit(self, wanted: Sequence[Sample], record: Record) -> Answer:  # noqa: ARG002
        """Answer at once. Nothing is paid for, so nothing is recorded."""
        keys = sorted((sample.prompt.index, sample.number) for sample in wanted)
        answer = Answer()
        answer.set_result([self._completions[key] for key in keys if key in self._completions])
        return answer


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
        return merge_answers(answers)


def merge_answers(answers: Sequence[Answer]) -> Answer:
    """Return the answers of several sources as one, which passes its cancellation on."""
    return answers[0] if len(answers) == 1 else _Merging(answers).answer


@dataclass
class _Merging:
    """The answers of several sources as one.

    Cancelling it cancels them before it returns, unlike `asyncio.gather`: whoever then waits for the gateway
    (`await_cancellation`) has waited for all of them.
    """

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
            self.answer.set_exception(gravest(failures))
        else:
            completions = [completion for part in self.parts for completion in part.result()]
            self.answer.set_result(sorted(completions, key=lambda one: (one.prompt, one.sample)))


def _error(part: Answer) -> BaseException | None:
    return CancelledError() if part.cancelled() else part.exception()
