"""Prompts answered from a record, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from schemas.program import Completion
from tasks.sample.gateway import Record, Sample


class RecordedCompletions:
    """Answers the samples of one generation with what models answered to them before; what is not there is left out.

    Args:
        completions: Of the generation.
    """

    def __init__(self, completions: Sequence[Completion]) -> None:
        self._completions = {(one.prompt, one.sample): one for one in completions}

    def submit(self, wanted: Sequence[Sample], record: Record) -> Future[list[Completion]]:  # noqa: ARG002
        """Answers at once; nothing is paid for, so nothing is recorded."""
        keys = [(sample.prompt.index, sample.number) for sample in wanted]
        answer: Future[list[Completion]] = Future()
        answer.set_result([self._completions[key] for key in keys if key in self._completions])
        return answer
