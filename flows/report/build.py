"""The story of one run: queries of the history, put together for a report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from flows.report.failures import failures, repeats
from flows.report.island_history import islands
from flows.report.lineage import lineage
from flows.report.repeat_command import command_of
from flows.report.run_data import Row, RunData, read_run_data
from schemas.outcome import Outcome
from schemas.report_data import Improvement, ModelSummary, NightSummary, ReportData, ScorePoint, SplitScores, TimeSpent
from tasks.history.database import Database
from tasks.history.files import RunFiles

_ATTEMPTS = "SELECT error FROM generations WHERE run_id = ? AND state = 'failed' ORDER BY started_at"


def build_report(database: Database, files: RunFiles, night: int | None = None) -> ReportData:
    """The story of a run as its files tell it now.

    Args:
        database: Of the history.
        files: Of the run.
        night: The one night to tell of.

    Raises:
        UsageError: If there is no such night.
    """
    material = read_run_data(database, files, night)
    problem = material.run.problem
    nights = tuple(_night(row) for row in material.nights if night in (None, row["night"]))
    best = _best(material)
    body = database.rows(
        "SELECT body FROM programs WHERE run_id = ? AND program_id = ?", [files.run_id, best.program_id]
    )[0]["body"]
    failed = database.rows(_ATTEMPTS, [files.run_id])
    return ReportData(
        run=material.run,
        night=night,
        nights=nights,
        start=_splits(material, material.told[0].best_program_id),
        best=best,
        best_function=problem.specification.function_text(body),
        best_program=problem.specification.with_body(body),
        moments=material.told,
        dots=_dots(material),
        islands=islands(material),
        lineage=lineage(material, best.program_id),
        models=_models(material),
        failures=failures(material),
        repeats=repeats(material),
        failed_attempts=tuple(row["error"] for row in failed),
        seconds=_seconds(material, nights),
        command=command_of(material.run, material.told[-1].generation),
        told_at=datetime.now(UTC),
    )


def _night(row: Row) -> NightSummary:
    return NightSummary(
        night=row["night"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        generations=row["generations"],
        samples=row["samples"],
        cost_usd=row["cost_usd"],
        best_before=row["best_before"],
        best_after=row["best_after"],
        best_program_id=row["best_program_id"],
        stop_reason=row["stop_reason"] or "",
        error=row["error"] or "",
        finalists=tuple(SplitScores(**finalist) for finalist in row["finalists"] or ()),
    )


def _best(material: RunData) -> SplitScores:
    """The winner of the last final told of, unless a better program came after it."""
    last = material.told[-1]
    for row in reversed(material.nights):
        if row["night"] <= (material.night or row["night"]) and row["finalists"]:
            if row["best_after"] >= last.best:
                return _splits(material, row["best_program_id"])
            break
    return _splits(material, last.best_program_id)


def _splits(material: RunData, program_id: str) -> SplitScores:
    """A program's scores on the splits, from the last final in which it was."""
    for row in reversed(material.nights):
        for finalist in row["finalists"] or ():
            if finalist["program_id"] == program_id:
                return SplitScores(**finalist)
    return SplitScores(program_id, material.by_id[program_id]["score"])


def _dots(material: RunData) -> tuple[ScorePoint, ...]:
    scored = (row for row in material.told_candidates if row["score"] is not None)
    return tuple(ScorePoint(material.sample(row), row["score"]) for row in scored)


def _models(material: RunData) -> tuple[ModelSummary, ...]:
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in material.told_candidates:
        by_model[row["model"]].append(row)
    firsts = {after.best_program_id for before, after in _pairs(material) if after.best > before.best}
    stories = [_model(name, rows, firsts) for name, rows in by_model.items()]
    return tuple(sorted(stories, key=lambda model: -model.samples))


def _pairs(material: RunData) -> list[tuple[Improvement, Improvement]]:
    return list(zip(material.told, material.told[1:], strict=False))


def _model(name: str, rows: Sequence[Row], firsts: set[str]) -> ModelSummary:
    counts = Counter(row["outcome"] for row in rows)
    prices = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return ModelSummary(
        model=name,
        samples=len(rows),
        outcomes={kind.value: counts[kind.value] for kind in Outcome if counts[kind.value]},
        tokens_in=sum(row["tokens_in"] for row in rows),
        tokens_out=sum(row["tokens_out"] for row in rows),
        cost_usd=sum(prices) if prices else None,
        best=max((row["score"] for row in rows if row["score"] is not None), default=None),
        improvements=sum(row["program_id"] in firsts for row in rows),
        latency_s=median(row["latency_s"] for row in rows),
    )


def _seconds(material: RunData, nights: Sequence[NightSummary]) -> TimeSpent:
    rows = [row for row in material.generations if material.first <= row["generation"] <= material.last]
    lasted = [((night.ended_at or material.told[-1].ended_at) - night.started_at).total_seconds() for night in nights]
    return TimeSpent(
        nights_s=sum(lasted),
        generations_s=sum((row["ended_at"] - row["started_at"]).total_seconds() for row in rows),
        sample_s=sum(row["sample_s"] for row in rows),
        evaluate_s=sum(row["evaluate_s"] for row in rows),
        select_s=sum(row["select_s"] for row in rows),
        candidates_s=sum(row["wall_s"] for row in material.told_candidates),
        cpu_s=sum(row["cpu_s"] for row in material.told_candidates),
    )
