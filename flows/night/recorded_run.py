"""The record of a run that is to be replayed: what it committed, what failed, and what each night left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from overnight.flows.night.recorded_verdicts import RecordedFinalists, RecordedVerdicts
from overnight.flows.start.create_run import RULES, RULES_VERSION
from overnight.flows.start.judging import with_answers
from overnight.schemas.generation import PUT_OFF, GenerationRecord, NightRecord, RunHistory, RunRecord, Step
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import Candidate, Prompt
from overnight.tasks.history import stored_run
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.rows import Row, prompts_of, read_attempts, read_rows


@dataclass(frozen=True)
class RecordedRun:
    """The record of a run when its replay begins.

    Attributes:
        committed: Row of each committed generation, by number.
        failed: Rows of attempts that failed.
        nights: Numbers of the nights.
        verdicts: Verdicts of each generation that was repeated.
        finals: Scores of each final evaluation that was repeated.
    """

    files: RunFiles
    run: RunRecord
    past: RunHistory
    committed: dict[int, Row]
    failed: list[Row]
    nights: list[int]
    verdicts: list[RecordedVerdicts] = field(default_factory=list)
    finals: list[RecordedFinalists] = field(default_factory=list)

    @property
    def ends(self) -> list[int]:
        """Numbers of committed generations, 0 included, in the order of their commits."""
        return [0, *(step.generation for step in self.past.steps if step.is_committed)]

    def night_of(self, step: Step) -> int:
        if step.is_committed:
            return self.committed[step.generation]["night"]
        return self.place_of(step)["night"]

    def counts_all_of(self, night: NightRecord) -> bool:
        """Return whether a night's row is of its end; one that was killed, or ended by force, left an earlier one.

        What is best in such a row was so at a moment that nothing tells, so it is not repeated.
        """
        committed = sum(row["night"] == night.number for number, row in self.committed.items() if number)
        return night.ended_at is not None and (bool(night.finalists) or night.generations == committed)

    def failures_until(self, step: Step) -> list[Row]:
        """Return the attempts at a generation that had failed when it ended this way."""
        mine = [row for row in self.failed if row["generation"] == step.generation]
        last = self.committed[step.generation] if step.is_committed else self.place_of(step)
        return [row for row in mine if 0 < row["attempt"] <= last["attempt"]]

    def with_answers(self, generation: GenerationRecord) -> GenerationRecord:
        """Return a generation with the answers to questions of the scoring that were committed with it."""
        return with_answers(generation, stored_run.read_answers(self.files, generation.number))

    def verdicts_of(self, rows: Sequence[Row]) -> RecordedVerdicts:
        """Return the verdicts of a generation's rows, and note what is taken of them."""
        verdicts = RecordedVerdicts.of_rows(self.run.problem.settings, rows)
        self.verdicts.append(verdicts)
        return verdicts

    def scores_of(self, night: NightRecord) -> RecordedFinalists:
        """Return the scores of a night's final evaluation, and note what is taken of them."""
        finalists = {one.program.id: one for one in night.finalists}
        self.finals.append(RecordedFinalists(finalists, self.run.problem.settings.limits))
        return self.finals[-1]

    @property
    def has_these_rules(self) -> bool:
        """Whether this version would compose the same prompts and read the same programs."""
        return self.run.versions.get(RULES) == RULES_VERSION

    def prompts_of(self, rows: Sequence[Row]) -> dict[int, Prompt]:
        """Return the prompts of a generation's rows, by index, where this version composes others; else none."""
        if self.has_these_rules:
            return {}
        return prompts_of(rows, self.run.problem.settings.candidates_per_prompt, self.bodies)

    @property
    def cpu_s(self) -> float:
        """Processor time that the scored programs took, as far as it is recorded, seconds."""
        return sum(program.cpu_s for program in self.past.told.values())

    @cached_property
    def bodies(self) -> dict[str, str]:
        """Bodies of all candidates, by id."""
        records = (record for step in self.past.steps for record in step.records.values())
        answers = {answer.program_id: answer.body for record in records for answer in record.answers}
        return answers | {name: program.body for name, program in self.past.programs.items()}

    def as_read(self, candidates: Sequence[Candidate], rows: Sequence[Row]) -> list[Candidate]:
        """Return candidates as they were read from their answers, where this version reads these in another way."""
        if self.has_these_rules:
            return list(candidates)
        recorded = {row["index"]: row for row in rows}
        return [self._as_read(one, recorded.get(one.index)) for one in candidates]

    def _as_read(self, candidate: Candidate, row: Row | None) -> Candidate:
        if row is None:
            return candidate
        if row["body"]:
            return replace(candidate, body=row["body"], code_hash=self.run.problem.code_hash(row["body"]), verdict=None)
        verdict = Verdict(Outcome(row["outcome"]), error=row["error"])
        return replace(candidate, body="", code_hash="", verdict=verdict)

    def place_of(self, step: Step) -> Row:
        """Return the row of an attempt that has the place of a generation which was given up or put off."""
        mine = (row for row in self.failed if row["generation"] == step.generation and row["place"] is not None)
        return next(row for row in mine if (row["state"] == PUT_OFF) == step.is_put_off)


def read_recorded_run(files: RunFiles) -> RecordedRun:
    """Read the record of a run that is to be replayed."""
    past = stored_run.read_run_history(files)
    numbers = [0, *(step.generation for step in past.steps if step.is_committed)]
    committed = {number: read_rows(files, "generation", number)[0] for number in numbers}
    run = stored_run.read_run(files)
    return RecordedRun(files, run, past, committed, read_attempts(files), files.night_numbers())
