"""Read recorded rows of a run: those of a generation, its completions, and the time since the last reset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any, Literal

import pyarrow.compute as pc

from schemas.algorithm import Change, Correct, Expand, Join, Reset
from schemas.errors import HistoryError
from schemas.feedback import Feedback
from schemas.operators import Operator
from schemas.outcome import Outcome
from schemas.program import TUNER, Completion
from schemas.prompt_record import PromptRecord, sum_of_costs
from tasks.history.atomic_files import read_file, read_groups
from tasks.history.files import Block, RunFiles

Table = Literal["generation", "programs", "population"]
Row = dict[str, Any]

_LATEST = 100
"""Latest answers from which the usual latency is taken."""

_ORDER = {"generation": "generation", "programs": "index", "population": "step"}


def read_rows(files: RunFiles, table: Table, generation: int) -> list[Row]:
    """Return the rows of one committed generation, in order.

    Raises:
        HistoryError: If it is missing or damaged.
    """
    return files.read_consistently(lambda blocks: _rows(files, blocks, table, generation))


def _rows(files: RunFiles, blocks: Sequence[Block], table: Table, generation: int) -> list[Row]:
    for block in blocks:
        if block.first <= generation <= block.last:
            parts = read_groups(block.folder / f"{table}.parquet", generation)
            rows = [row for part in parts for row in part.filter(pc.field("generation") == generation).to_pylist()]
            return sorted(rows, key=lambda row: row[_ORDER[table]])
    raise HistoryError(f"no folder {files.generation(generation)}", remedy="Restore it from a copy.")


def read_attempts(files: RunFiles) -> list[Row]:
    """Return the failed attempts, ordered by generation and attempt."""
    rows = [row for path in files.attempts() for row in read_file(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["generation"], row["attempt"]))


def read_seconds_since_reset(files: RunFiles) -> float:
    """Return the seconds of nights since the last reset of niches, or since the search began.

    Raises:
        HistoryError: If a file is damaged.
    """
    columns = ["night", "started_at", "ended_at", "reset_niches"]

    def read(blocks: Sequence[Block]) -> list[Row]:
        tables = [read_file(block.folder / "generation.parquet", columns=columns) for block in blocks]
        return [row for table in tables for row in table.to_pylist() if row["night"]]

    rows = files.read_consistently(read)
    resets = [row["ended_at"] for row in rows if row["reset_niches"]]
    spans: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in rows:
        spans[row["night"]] += [max([moment, *resets]) for moment in (row["started_at"], row["ended_at"])]
    return sum((max(span) - min(span)).total_seconds() for span in spans.values())


def read_pace(files: RunFiles) -> tuple[int, float | None]:
    """Return the number of samples of models in committed generations, and the mean seconds of the latest answers.

    Raises:
        HistoryError: If a file is damaged.
    """

    def read(blocks: Sequence[Block]) -> list[float]:
        tables = [read_file(block.folder / "programs.parquet", columns=["model", "latency_s"]) for block in blocks]
        return [row["latency_s"] for table in tables for row in table.to_pylist() if row["model"] not in ("", TUNER)]

    latencies = files.read_consistently(read)
    latest = latencies[-_LATEST:]
    return len(latencies), fmean(latest) if latest else None


def completions_of(programs: Sequence[Row], samples: int) -> list[Completion]:
    """Return the completions of a generation, as they were before evaluation.

    Args:
        programs: Rows of its candidates.
        samples: Number of samples per prompt.
    """
    return [
        Completion(
            prompt=row["index"] // samples,
            sample=row["index"] % samples,
            prompt_hash="",
            text=row["completion"],
            model=row["model"],
            tokens_in=row["tokens_in"],
            tokens_out=row["tokens_out"],
            cost_usd=row["cost_usd"],
            latency_s=row["latency_s"],
            finish_reason=row["finish_reason"],
            asked_at=row["asked_at"],
            error=row["error"] if _has_no_answer(row) else "",
            evaluations=row["evaluations"] or 0,
            tokens_cached=row["tokens_cached"] or 0,
        )
        for row in programs
    ]


def _has_no_answer(row: Row) -> bool:
    """Return whether the provider or the model refused to answer, or a batch job returned no answer."""
    is_refused = row["finish_reason"] in {"refused", "lost"} or row["error"].startswith("refused: ")
    return row["outcome"] == Outcome.UNPARSABLE and is_refused


def record_of_rows(programs: Sequence[Row]) -> PromptRecord:
    """Return how a prompt was asked and answered.

    Args:
        programs: Rows of its candidates, at least one, in order.
    """
    first = programs[0]
    operator = first["operator"] or ""
    return PromptRecord(
        niche=first["niche"],
        operator=operator,
        model=first["asked_model"] or first["model"],
        answers=tuple(_answer(row, operator) for row in programs),
        tokens=sum(row["tokens_in"] + row["tokens_out"] for row in programs),
        cost_usd=sum_of_costs([row["cost_usd"] for row in programs]),
        evaluations=sum(row["evaluations"] or 0 for row in programs),
    )


def _answer(row: Row, operator: str) -> Feedback:
    parents = row["parent_ids"]
    return Feedback(
        parent_id=parents[-1] if parents else "",
        body=row["body"],
        outcome=Outcome(row["outcome"]),
        error=row["error"],
        output=row["output"],
        scores=tuple(score for score in row["scores"] or () if score is not None),
        score=row["score"],
        program_id=row["program_id"],
        idea=row["idea"] or "",
        failed_id=parents[0] if operator == Operator.REPAIR else "",
    )


def change_of(row: Mapping[str, Any]) -> Change:
    """Return the change of a row of `tables.POPULATION`, the inverse of `encode_rows.population_rows`."""
    match row["event"]:
        case "joined":
            return Join(row["niche"], row["program_id"])
        case "expanded":
            return Expand(row["niche"], row["program_id"], row["samples"] or 0)
        case "removed" | "corrected" as event:
            return Correct(row["niche"], row["program_id"], is_removed=event == "removed")
        case _:
            return Reset(row["niche"], row["program_id"])
