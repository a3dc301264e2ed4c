"""What is read of a run to tell its story."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schemas.errors import UsageError
from schemas.generation import RunRecord
from schemas.report_data import Improvement
from tasks.history import record
from tasks.history.database import Database
from tasks.history.files import RunFiles

Row = dict[str, Any]

_GENERATIONS = "FROM generations WHERE run_id = ? AND state = 'committed' ORDER BY generation"
_NIGHTS = "FROM nights WHERE run_id = ? ORDER BY night"
_CANDIDATES = """
SELECT
    generation, index, program_id, parent_ids, island, model, outcome, score,
    tokens_in, tokens_out, cost_usd, latency_s, wall_s, cpu_s
FROM programs WHERE run_id = ? ORDER BY generation, index
"""


@dataclass(frozen=True)
class RunData:
    """What was read of one run, and the night to tell of.

    Attributes:
        generations: Rows of the committed generations, in order.
        candidates: Every candidate's row without its texts, in order; the start program first.
        night: `None` for all nights.
    """

    database: Database
    run: RunRecord
    generations: Sequence[Row]
    nights: Sequence[Row]
    candidates: Sequence[Row]
    night: int | None

    @cached_property
    def moments(self) -> tuple[Improvement, ...]:
        """Of all nights, whatever is told of."""
        begun = {row["night"]: row["started_at"] for row in self.nights}
        samples, cost, before, night, gone, moments = 0, 0.0, 0.0, 0, 0.0, []
        for row in self.generations:
            samples += row["candidates"] * (row["generation"] > 0)
            cost += row["cost_usd"]
            if row["night"] != night:
                night, before = row["night"], gone
            since = begun.get(night, row["started_at"])
            gone = before + max((row["ended_at"] - since).total_seconds(), 0.0) * (row["generation"] > 0)
            moments.append(
                Improvement(
                    generation=row["generation"],
                    night=row["night"],
                    samples=samples,
                    seconds=gone,
                    cost_usd=cost,
                    best=row["best_score"],
                    best_program_id=row["best_program_id"],
                    own_best=row["generation_best"],
                    reset=tuple(row["reset_islands"] or ()),
                    ended_at=row["ended_at"],
                )
            )
        return tuple(moments)

    @cached_property
    def told(self) -> tuple[Improvement, ...]:
        """The moments told of, with the one before."""
        if self.night is None:
            return self.moments
        inside = [place for place, moment in enumerate(self.moments) if moment.night == self.night]
        return self.moments[inside[0] - 1 : inside[-1] + 1] if inside else self.moments[-1:]

    @cached_property
    def first(self) -> int:
        """The first generation told of."""
        return self.told[0].generation + 1

    @property
    def last(self) -> int:
        return self.told[-1].generation

    @cached_property
    def told_candidates(self) -> list[Row]:
        return [row for row in self.candidates if self.first <= row["generation"] <= self.last]

    @cached_property
    def by_id(self) -> dict[str, Row]:
        return {row["program_id"]: row for row in self.candidates}

    def sample(self, row: Row) -> int:
        """The how-manieth sample of the run a candidate was."""
        return self._before[row["generation"]] + row["index"] + 1 if row["generation"] else 0

    @cached_property
    def _before(self) -> dict[int, int]:
        pairs = zip(self.moments, self.moments[1:], strict=False)
        return {after.generation: before.samples for before, after in pairs}

    def function(self, body: str) -> str:
        """The evolved function with a body, without its docstring; empty if there is none."""
        return self.run.problem.specification.bare_text(body) if body else ""


def read_run_data(database: Database, files: RunFiles, night: int | None) -> RunData:
    """Reads everything a story needs but texts of programs."""
    nights = database.rows(_NIGHTS, [files.run_id])
    if night is not None and night not in [row["night"] for row in nights]:
        numbers = ", ".join(str(row["night"]) for row in nights) or "none yet"
        raise UsageError(f"run {files.run_id} has no night {night}", remedy=f"Its nights: {numbers}.")
    return RunData(
        database,
        record.read_run(files),
        database.rows(_GENERATIONS, [files.run_id]),
        nights,
        database.rows(_CANDIDATES, [files.run_id]),
        night,
    )
