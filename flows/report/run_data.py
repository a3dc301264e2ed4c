"""Rows of the history that the report of one run needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from overnight.schemas.errors import UsageError
from overnight.schemas.generation import RunRecord
from overnight.schemas.report_data import GenerationSummary
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles

Row = dict[str, Any]

_GENERATIONS = "FROM generations WHERE run_id = ? AND state = 'committed' ORDER BY place"
_NIGHTS = "FROM nights WHERE run_id = ? ORDER BY night"
_CANDIDATES = """
SELECT
    generation, place, index, program_id, parent_ids, niche, model, operator, outcome, score,
    tokens_in, tokens_cached, tokens_out, cost_usd, latency_s, wall_s, cpu_s
FROM programs WHERE run_id = ? ORDER BY place, index
"""


@dataclass(frozen=True)
class RunData:
    """Rows of one run, and the night that the report covers.

    Attributes:
        generations: Rows of the committed generations, in the order of commits: a retried one comes later.
        candidates: Rows of all candidates without their texts, in the same order; the start program comes first.
        night: The only night that the report covers; `None` for all nights.
    """

    database: Database
    run: RunRecord
    generations: Sequence[Row]
    nights: Sequence[Row]
    candidates: Sequence[Row]
    night: int | None

    @cached_property
    def all_summaries(self) -> tuple[GenerationSummary, ...]:
        """Summaries of the committed generations of all nights, including those that the report does not cover."""
        night_starts = {row["night"]: row["started_at"] for row in self.nights}
        samples, cost_usd, night = 0, 0.0, 0
        has_unknown_costs = False
        seconds = seconds_before_night = 0.0
        summaries = []
        for row in self.generations:
            is_start = row["generation"] == 0
            samples += 0 if is_start else row["candidates"]
            cost_usd += row["cost_usd"]
            has_unknown_costs |= row["generation"] in self.generations_with_unknown_costs
            if row["night"] != night:
                night, seconds_before_night = row["night"], seconds
            night_start = night_starts.get(night, row["started_at"])
            elapsed = 0.0 if is_start else max((row["ended_at"] - night_start).total_seconds(), 0.0)
            seconds = seconds_before_night + elapsed
            summaries.append(
                GenerationSummary(
                    generation=row["generation"],
                    night=row["night"],
                    samples=samples,
                    seconds=seconds,
                    cost_usd=cost_usd,
                    best=row["best_score"],
                    best_program_id=row["best_program_id"],
                    own_best=row["generation_best"],
                    ended_at=row["ended_at"],
                    has_unknown_costs=has_unknown_costs,
                )
            )
        return tuple(summaries)

    @cached_property
    def generations_with_unknown_costs(self) -> set[int]:
        """Numbers of the generations in which the price of a completion, or of an answer to the scoring, is unknown."""
        candidates = [row for row in self.candidates if row["generation"] > 0]
        questions = self.database.rows("SELECT generation, cost_usd FROM questions WHERE run_id = ?", [self.run.run_id])
        return {row["generation"] for row in (*candidates, *questions) if row["cost_usd"] is None}

    @cached_property
    def summaries(self) -> tuple[GenerationSummary, ...]:
        """Summaries of the generations that the report covers, and of the one before them."""
        if self.night is None:
            return self.all_summaries
        covered = [place for place, summary in enumerate(self.all_summaries) if summary.night == self.night]
        return self.all_summaries[covered[0] - 1 : covered[-1] + 1] if covered else self.all_summaries[-1:]

    @property
    def last_generation(self) -> int:
        """Highest number of a generation that the report covers or that came before."""
        return max(summary.generation for summary in self.all_summaries if self.place_of(summary) <= self.last_place)

    @property
    def first_place(self) -> int:
        """Place of the first generation that the report covers, in the order of commits."""
        return self.place_of(self.summaries[0]) + 1

    @property
    def last_place(self) -> int:
        """Place of the last generation that the report covers."""
        return self.place_of(self.summaries[-1])

    def place_of(self, summary: GenerationSummary) -> int:
        """Return the place of a generation in the order of commits."""
        return self._places[summary.generation]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {row["generation"]: row["place"] for row in self.generations}

    @cached_property
    def covered_candidates(self) -> list[Row]:
        """Candidates of the generations that the report covers."""
        first, last = self.first_place, self.last_place
        return [row for row in self.candidates if first <= row["place"] <= last]

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """Rows of all candidates by program id."""
        return {row["program_id"]: row for row in self.candidates}

    def sample_number(self, row: Row) -> int:
        """Return the 1-based position of a candidate among all samples of the run; 0 for the start program.

        An answer of the tuner, which comes after all samples of its generation, has the position of the last one.
        """
        if not row["generation"]:
            return 0
        before, samples = self._samples[row["generation"]]
        return before + min(row["index"] + 1, samples)

    @cached_property
    def _samples(self) -> dict[int, tuple[int, int]]:
        return {
            after.generation: (before.samples, after.samples - before.samples)
            for before, after in pairwise(self.all_summaries)
        }

    def function_text(self, body: str) -> str:
        """Return the evolved function with a body, without its docstring; empty if there is no body."""
        return self.run.problem.specification.bare_text(body) if body else ""


def read_run_data(database: Database, files: RunFiles, night: int | None) -> RunData:
    """Read all rows that a report needs, without the texts of programs.

    Raises:
        UsageError: If the run has no such night, or no program with a score.
        HistoryError: If it has no generation.
    """
    nights = database.rows(_NIGHTS, [files.run_id])
    if night is not None and night not in [row["night"] for row in nights]:
        numbers = ", ".join(str(row["night"]) for row in nights) or "none yet"
        raise UsageError(f"run {files.run_id} has no night {night}", remedy=f"Its nights: {numbers}.")
    generations = database.rows(_GENERATIONS, [files.run_id])
    if not generations:
        raise stored_run.without_start_program(files)
    first = next((row for row in generations if row["best_score"] is not None), None)
    if first is None:
        raise UsageError(
            f"no program of run {files.run_id} has a score yet",
            remedy=f"See why: overnight sql \"FROM failures('{files.run_id}')\"",
        )
    begin = {name: first[name] for name in ("best_score", "best_program_id")}  # stands for a start program
    generations = [row if row["best_score"] is not None else row | begin for row in generations]
    return RunData(
        database, stored_run.read_run(files), generations, nights, database.rows(_CANDIDATES, [files.run_id]), night
    )
