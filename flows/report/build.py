"""Builds the data of one run's report from the history, draws the programs that it shows, and writes it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from overnight.flows.report.drawings import draw_programs
from overnight.flows.report.failures import failures, repeats
from overnight.flows.report.lineage import lineage
from overnight.flows.report.population import diversity, functions_of, niches, scored_points
from overnight.flows.report.repeat_command import command_of
from overnight.flows.report.run_data import Row, RunData, read_run_data
from overnight.schemas.outcome import Outcome
from overnight.schemas.report_data import (
    NO_DRAWINGS,
    Conversation,
    Drawings,
    InputResult,
    MachineSummary,
    ModelSummary,
    NightSummary,
    ObjectivePoint,
    QuestionSummary,
    ReportData,
    RequestSummary,
    SplitScores,
    TimeSpent,
)
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import pending_requests, read_interventions
from overnight.tasks.history.private_files import open_private
from overnight.tasks.history.readings import readings_of
from overnight.tasks.history.rows import metrics_of
from overnight.tasks.report.conversation import read_conversation
from overnight.tasks.report.lineage_graph import line_of_descent
from overnight.tasks.report.page import render

_FAILED_ATTEMPTS = "SELECT error FROM generations WHERE run_id = ? AND state <> 'committed' ORDER BY started_at"

_MACHINES = """
SELECT
    coalesce(machine, '') AS name,
    sum(candidates)::INTEGER AS candidates,
    sum(scored)::INTEGER AS scored,
    sum(faults + sandbox_errors)::INTEGER AS faults,
    sum(wall_s) / nullif(sum(candidates), 0) AS mean_s,
    sum(candidates) FILTER (per_minute > 0) / sum(candidates / per_minute) AS per_minute
FROM machines WHERE run_id = ? AND night > 0 AND coalesce(night = ?, true)
GROUP BY machine ORDER BY machine NULLS FIRST
"""

_MAX_STEPS = 8
"""Most programs of the line of descent that are drawn, its ends included."""

_TRANSCRIPTS = """
SELECT of_line.program_id, session.transcript
FROM programs AS of_line JOIN programs AS session
ON session.run_id = of_line.run_id AND session.generation = of_line.generation
    AND session.index // ? = of_line.index // ? AND session.transcript IS NOT NULL
WHERE of_line.run_id = ? AND list_contains(?, of_line.program_id)
"""
"""What an agent did, for the program that it handed back and for those that it had scored before."""

_PROGRAM = "SELECT body, scores, metrics_by_input, notes FROM programs WHERE run_id = ? AND program_id = ?"

_MAX_POINTS = 1500
"""Most programs beside the front that its charts show."""

_OBJECTIVES = """
SELECT own.program_id, own.score, own.metrics, front.program_id IS NOT NULL AS is_on_front
FROM programs AS own
LEFT JOIN front ON front.run_id = own.run_id AND front.program_id = own.program_id
WHERE own.run_id = ? AND own.outcome = 'scored' ORDER BY own.place, own.index
"""

_QUESTIONS = """
SELECT model, count(answer) AS answers, sum(tokens_in + tokens_out)::BIGINT AS tokens,
    coalesce(sum(cost_usd), 0) AS cost_usd, bool_or(cost_usd IS NULL) AS has_unknown_costs
FROM questions WHERE run_id = ? GROUP BY model ORDER BY model
"""

_MAX_INPUTS = 200
"""Most inputs of the best program that are listed."""

_BODIES = "SELECT program_id, body FROM programs WHERE run_id = ? AND list_contains(?, program_id)"

_NIGHT_COLUMNS = (
    "night", "started_at", "ended_at", "seen_at", "generations", "samples", "cost_usd", "best_before", "best_after",
    "best_program_id",
)  # fmt: skip
"""Columns of `nights` that are attributes of a night's summary."""


def build_report(database: Database, files: RunFiles, night: int | None = None) -> ReportData:
    """Return the report's data of a run, or of one night of it, as its files are now."""
    run_data = read_run_data(database, files, night)
    problem = run_data.run.problem
    nights = tuple(_night_summary(row, run_data) for row in run_data.nights if night in (None, row["night"]))
    best = _best_scores(run_data)
    best_row = database.rows(_PROGRAM, [files.run_id, best.program_id])[0]
    body = best_row["body"]
    points, left_out = scored_points(run_data)
    failed = database.rows(_FAILED_ATTEMPTS, [files.run_id])
    return ReportData(
        run=run_data.run,
        night=night,
        nights=nights,
        start=_split_scores(run_data, run_data.summaries[0].best_program_id),
        best=best,
        best_function=problem.specification.function_text(body),
        best_specification=problem.specification.program(body).shown,
        best_inputs=_input_results(run_data, best_row),
        objective_points=_objective_points(run_data),
        generations=run_data.summaries,
        points=points,
        points_left_out=left_out,
        functions=functions_of(run_data, points),
        diversity=diversity(run_data),
        niches=niches(run_data),
        lineage=lineage(run_data, best.program_id),
        models=_model_summaries(run_data),
        requests=_requests(database, files),
        questions=tuple(QuestionSummary(**row) for row in database.rows(_QUESTIONS, [files.run_id])),
        readings=tuple(readings_of(files)),
        conversations=_conversations(database, run_data, best.program_id),
        machines=_machines(database, files.run_id, night),
        failures=failures(run_data),
        repeats=repeats(run_data),
        failed_attempts=tuple(row["error"] for row in failed),
        time_spent=_time_spent(run_data, nights),
        command=command_of(run_data.run, run_data.last_generation),
        built_at=datetime.now(UTC),
    )


def _input_results(run_data: RunData, row: Row) -> tuple[InputResult, ...]:
    """Return a program's results on the first training inputs; none if there are only scores."""
    metrics, notes = dict(row["metrics_by_input"] or ()), row["notes"] or ()
    if not metrics and not notes:
        return ()
    calls = run_data.run.problem.inputs["train"][:_MAX_INPUTS]
    return tuple(
        InputResult(
            number=place + 1,
            arguments=str(call),
            score=one,
            metrics={name: next(iter(values[place : place + 1]), None) for name, values in metrics.items()},
            note="".join(filter(None, notes[place : place + 1])),
        )
        for place, (call, one) in enumerate(zip(calls, row["scores"], strict=False))
    )


def _objective_points(run_data: RunData) -> tuple[ObjectivePoint, ...]:
    """Return the programs of the front, and an even choice of the others; none where the score alone counts."""
    names = run_data.run.problem.settings.objectives.metrics
    if not names:
        return ()
    rows = run_data.database.rows(_OBJECTIVES, [run_data.run.run_id])
    chosen = set(spread([row["program_id"] for row in rows if not row["is_on_front"]], _MAX_POINTS))
    return tuple(
        ObjectivePoint(
            program_id=row["program_id"],
            values={"score": row["score"], **{name: metrics[name] for name in names}},
            is_on_front=row["is_on_front"],
        )
        for row in rows
        if (metrics := metrics_of(row)).keys() >= names.keys() and (row["is_on_front"] or row["program_id"] in chosen)
    )


def _night_summary(row: Row, run_data: RunData) -> NightSummary:
    return NightSummary(
        **{name: row[name] for name in _NIGHT_COLUMNS},
        stop_reason=row["stop_reason"] or "",
        error=row["error"] or "",
        finalists=tuple(SplitScores(**finalist) for finalist in row["finalists"] or ()),
        has_unknown_costs=any(
            generation["night"] == row["night"]
            for generation in run_data.generations
            if generation["generation"] in run_data.generations_with_unknown_costs
        ),
        warning=row["warning"] or "",
    )


def _best_scores(run_data: RunData) -> SplitScores:
    """Return the winner of the last final evaluation that is covered, unless a better program came after it."""
    last = run_data.summaries[-1]
    for row in reversed(run_data.nights):
        if row["night"] <= (run_data.night or row["night"]) and row["finalists"]:
            bests = [one.best_program_id for one in run_data.all_summaries if one.night <= row["night"]]
            if last.best_program_id == bests[-1]:
                return _split_scores(run_data, row["best_program_id"])
            break
    return _split_scores(run_data, last.best_program_id)


def _split_scores(run_data: RunData, program_id: str) -> SplitScores:
    """Return a program's scores on the splits, from the last final evaluation in which it took part."""
    for row in reversed(run_data.nights):
        for finalist in row["finalists"] or ():
            if finalist["program_id"] == program_id:
                return SplitScores(**finalist)
    return SplitScores(program_id, run_data.by_id[program_id]["score"])


def _model_summaries(run_data: RunData) -> tuple[ModelSummary, ...]:
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in run_data.covered_candidates:
        by_model[row["model"]].append(row)
    new_bests = {after.best_program_id for before, after in pairwise(run_data.summaries) if after.best > before.best}
    summaries = [_model_summary(name, rows, new_bests) for name, rows in by_model.items()]
    return tuple(sorted(summaries, key=lambda model: -model.samples))


def _model_summary(name: str, rows: Sequence[Row], new_bests: set[str]) -> ModelSummary:
    counts = Counter(row["outcome"] for row in rows)
    prices = [row["cost_usd"] for row in rows if row["cost_usd"] is not None]
    return ModelSummary(
        model=name,
        samples=len(rows),
        outcomes={kind.value: counts[kind.value] for kind in Outcome if counts[kind.value]},
        tokens_in=sum(row["tokens_in"] for row in rows),
        tokens_out=sum(row["tokens_out"] for row in rows),
        tokens_cached=sum(row["tokens_cached"] or 0 for row in rows),
        cost_usd=sum(prices) if prices else None,
        has_unknown_costs=len(prices) < len(rows),
        best=max((row["score"] for row in rows if row["score"] is not None), default=None),
        improvements=sum(row["program_id"] in new_bests for row in rows),
        latency_s=median(row["latency_s"] for row in rows),
    )


def _requests(database: Database, files: RunFiles) -> tuple[RequestSummary, ...]:
    """Return what people asked for: what the run has taken, and what still waits for a night to take it."""
    rows = {row["id"]: row for row in database.rows("FROM interventions WHERE run_id = ?", [files.run_id])}
    taken = tuple(
        RequestSummary(
            one.asked_at, one.author, one.words, one.generation, rows[one.id]["samples"], rows[one.id]["gain"]
        )
        for one in read_interventions(files)
        if one.id in rows
    )
    waiting = (RequestSummary(one.asked_at, one.author, one.words, 0, 0, None) for one in pending_requests(files))
    return (*taken, *waiting)


def _conversations(database: Database, run_data: RunData, best: str) -> dict[str, Conversation]:
    """Return what agents did for the best program and those that it descends from."""
    line = [one.program_id for one in line_of_descent(lineage(run_data, best))]
    size = run_data.run.problem.settings.candidates_per_prompt
    rows = database.rows(_TRANSCRIPTS, [size, size, run_data.run.run_id, line])
    return {row["program_id"]: read_conversation(row["transcript"]) for row in rows}


def _machines(database: Database, run_id: str, night: int | None) -> tuple[MachineSummary, ...]:
    """Return what each machine did; nothing for a run that was evaluated on its own machine alone."""
    rows = database.rows(_MACHINES, [run_id, night])
    return tuple(MachineSummary(**row) for row in rows) if any(row["name"] for row in rows) else ()


def _time_spent(run_data: RunData, nights: Sequence[NightSummary]) -> TimeSpent:
    first, last = run_data.first_place, run_data.last_place
    rows = [row for row in run_data.generations if first <= row["place"] <= last]
    return TimeSpent(
        nights_s=sum((night.seen_at - night.started_at).total_seconds() for night in nights),
        generations_s=_covered_s([(row["started_at"], row["ended_at"]) for row in rows]),
        sample_s=sum(row["sample_s"] for row in rows),
        evaluate_s=sum(row["evaluate_s"] for row in rows),
        select_s=sum(row["select_s"] for row in rows),
        candidates_s=sum(row["wall_s"] for row in run_data.covered_candidates),
        cpu_s=sum(row["cpu_s"] for row in run_data.covered_candidates),
    )


def _covered_s(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Return the seconds that some spans cover together, those in which several overlap once."""
    seconds, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        seconds += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return seconds


def draw_report(database: Database, report: ReportData, *, note: Callable[[str], None] = lambda _: None) -> Drawings:
    """Draw the start program, the best one, and some that led from one to the other."""
    if not report.run.problem.draws:
        return NO_DRAWINGS
    line = [ancestor.program_id for ancestor in line_of_descent(report.lineage)]
    wanted = list(dict.fromkeys([report.start.program_id, report.best.program_id, *spread(line, _MAX_STEPS)]))
    rows = database.rows(_BODIES, [report.run.run_id, wanted])
    bodies = {row["program_id"]: row["body"] for row in rows}
    bodies = {name: bodies[name] for name in wanted if name in bodies}
    run = report.run
    return draw_programs(run.problem, bodies, seed=run.seed, run_id=run.run_id, note=note)


def spread(items: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def write_report(files: RunFiles, report: ReportData, drawings: Drawings = NO_DRAWINGS) -> Path:
    """Write the report of a run into its folder; return its absolute path."""
    path = files.directory / "report.html"
    with open_private(path, "wb") as file:
        file.write(render(report, drawings).encode())
    return path.resolve()
