"""A completion source that answers from a record, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from schemas.completion_source import Record, Sample
from schemas.program import Completion


class RecordedCompletions:
    """The recorded completions of one generation; samples without one are left out.

    Args:
        completions: All recorded completions of the generation.
    """

    def __init__(self, completions: Sequence[Completion]) -> None:
        self._completions = {(one.prompt, one.sample): one for one in completions}

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:  # noqa: ARG002
        """Answer at once. Nothing is paid for, so nothing is recorded."""
        keys = sorted((sample.prompt.index, sample.number) for sample in wanted)
        answer: Future[list[Completion]] = Future()
        answer.set_result([self._completions[key] for key in keys if key in self._completions])
        return answer
