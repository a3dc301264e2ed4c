"""Rows of the history that the report of one run needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from overnight.schemas.errors import UsageError
from overnight.schemas.generation import RunRecord
from overnight.schemas.report_rows import GenerationSummary
from overnight.tasks.history import stored_run
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.number_format import gain_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

Row = dict[str, Any]

# The time of a night counts up to its last commit. A generation without a score has what the first one with one has,
# which stands for a start program.
_GENERATIONS = """
WITH own AS (
    SELECT its.*, generation IN (SELECT generation FROM costs WHERE run_id = $1 AND unpriced > 0) AS is_unpriced,
        CASE WHEN generation > 0 THEN greatest(epoch(ended_at - coalesce(begun_at, started_at)), 0)
            ELSE 0 END AS elapsed,
        lead(night) OVER (ORDER BY place) IS DISTINCT FROM night AS ends_night,
        arg_min(best_score, place) FILTER (best_score IS NOT NULL) OVER () AS first_score,
        arg_min(best_program_id, place) FILTER (best_score IS NOT NULL) OVER () AS first_id
    FROM generations AS its LEFT JOIN (SELECT run_id, night, started_at AS begun_at FROM nights) USING (run_id, night)
    WHERE run_id = $1 AND state = 'committed'
)
SELECT generation, place, night, started_at, ended_at, sample_s, evaluate_s, select_s,
    samples_so_far AS samples, cost_so_far_usd AS cost_usd,
    elapsed + coalesce(sum(elapsed) FILTER (ends_night) OVER before, 0) AS seconds,
    coalesce(best_score, first_score) AS best,
    CASE WHEN best_score IS NULL THEN first_id ELSE best_program_id END AS best_program_id,
    generation_best AS own_best,
    bool_or(is_unpriced) OVER past AS has_unknown_costs
FROM own
WINDOW past AS (ORDER BY place), before AS (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
ORDER BY place
"""
_NIGHTS = """
SELECT * REPLACE (
    coalesce(finalists, []) AS finalists, coalesce(stop_reason, '') AS stop_reason, coalesce(error, '') AS error,
    coalesce(warning, '') AS warning
) FROM nights WHERE run_id = ? ORDER BY night
"""
_CANDIDATES = """
SELECT generation, place, index, sample, program_id, parent_ids, coalesce(niche, '') AS niche, model,
    coalesce(operator, '') AS operator, score, wall_s, cpu_s
FROM programs WHERE run_id = ? ORDER BY place, index
"""
_BODIES = "SELECT program_id, body FROM programs WHERE run_id = ? AND list_contains(?, program_id)"


def made(kind: type[T], row: Row, **more: Any) -> T:
    """Return an instance of a dataclass, whose fields are the columns of a row of these names and what is given."""
    return kind(**{field.name: row[field.name] for field in fields(kind) if field.name in row} | more)


def bodies_of(database: Database, run_id: str, program_ids: Sequence[str]) -> dict[str, str]:
    """Return the bodies of some programs, by id."""
    return {row["program_id"]: row["body"] for row in database.rows(_BODIES, [run_id, program_ids])}


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

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """Return the rows of a query, whose first parameter is the run's id."""
        return self.database.rows(sql, [self.run.run_id, *parameters])

    @cached_property
    def all_summaries(self) -> tuple[GenerationSummary, ...]:
        """Summaries of the committed generations of all nights, including those that the report does not cover."""
        return tuple(made(GenerationSummary, row) for row in self.generations)

    @cached_property
    def summaries(self) -> tuple[GenerationSummary, ...]:
        """Summaries of the generations that the report covers, and of the one before them."""
        if self.night is None:
            return self.all_summaries
        before = [summary for summary in self.all_summaries if summary.night < self.night]
        return (*before[-1:], *(summary for summary in self.all_summaries if summary.night == self.night))

    @cached_property
    def new_bests(self) -> tuple[GenerationSummary, ...]:
        """The first summary, then that of each sample with a better score than all before it, at its own number."""
        found, by_place = [self.summaries[0]], {one.place: one for one in self.summaries}
        for row in self.covered(self.candidates):
            score = row["score"]
            if score is not None and gain_of(found[-1].best, score) > 0:
                own = by_place[row["place"]]
                found.append(replace(own, samples=row["sample"], best=score, best_program_id=row["program_id"]))
        return tuple(found)

    @property
    def first_place(self) -> int:
        """Place of the first generation that the report covers, in the order of commits."""
        return self.summaries[0].place + 1

    @property
    def last_place(self) -> int:
        """Place of the last generation that the report covers."""
        return self.summaries[-1].place

    def covered(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of the generations that the report covers."""
        return [row for row in rows if self.first_place <= row["place"] <= self.last_place]

    @cached_property
    def by_id(self) -> dict[str, Row]:
        """Rows of all candidates by program id."""
        return {row["program_id"]: row for row in self.candidates}

    def function_text(self, body: str) -> str:
        """Return the evolved function with a body, without its docstring; empty if there is no body."""
        return self.run.problem.specification.bare_text(body) if body else ""


def read_run_data(database: Database, files: RunFiles, night: int | None) -> RunData:
    """Read all rows that a report needs, without the texts of programs.

    Raises:
        UsageError: If the run has no such night, or no program with a score.
        HistoryError: If it has no generation.
    """
    nights, generations, candidates = (
        database.rows(query, [files.run_id]) for query in (_NIGHTS, _GENERATIONS, _CANDIDATES)
    )
    if night is not None and night not in [row["night"] for row in nights]:
        numbers = ", ".join(str(row["night"]) for row in nights) or "none yet"
        raise UsageError(f"run {files.run_id} has no night {night}", remedy=f"Its nights: {numbers}.")
    if not generations:
        raise stored_run.without_start_program(files)
    if generations[0]["best"] is None:
        raise UsageError(
            f"no program of run {files.run_id} has a score yet",
            remedy=f"See why: overnight sql \"FROM failures('{files.run_id}')\"",
        )
    return RunData(database, stored_run.read_run(files), generations, nights, candidates, night)
