"""A prompt whose results the algorithm was told of, as it is kept to be told again if a claim falls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from overnight.flows.night.interventions import changes_without
from overnight.schemas.algorithm import Algorithm, Change
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.program import Program
from overnight.tasks.select.operators.composer import Composer


@dataclass(frozen=True)
class Told:
    """A prompt that the algorithm was told of, kept while a claim of its generation may still be corrected.

    Attributes:
        changes: Changes that it made for the results.
        programs: The scored programs, by id.
        record: How the prompt was asked and answered; `None` if it has no candidate.
        before: Algorithm and composer before it, to return to if one of its claims falls; `None` if it has none.
    """

    changes: tuple[Change, ...]
    programs: Mapping[str, Program]
    record: PromptRecord | None
    before: tuple[Algorithm, Composer] | None = None

    def corrected(
        self, programs: Mapping[str, Program | None], answers: Mapping[str, Feedback], bases: Mapping[str, str]
    ) -> Told:
        """Return what would have been told, had the final scores of some programs been known.

        A program without a score is `None`; its base takes its place.
        """
        own = {name: programs.get(name, program) for name, program in self.programs.items()}
        left = {name: program for name, program in own.items() if program is not None}
        record = self.record and replace(
            self.record, answers=tuple(answers.get(one.program_id, one) for one in self.record.answers)
        )
        return replace(self, changes=changes_without(self.changes, bases), programs=left, record=record)

    def names(self, corrected: Collection[str]) -> bool:
        """Return whether any of these programs is among its own."""
        answers = self.record.answers if self.record else ()
        return any(name in corrected for name in (*self.programs, *(answer.program_id for answer in answers)))
