"""Builds the data of one run's report from the history, draws the programs that it shows, and writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path

from overnight.flows.report.drawings import draw_programs
from overnight.flows.report.failures import failures, repeats
from overnight.flows.report.lineage import line_to, lineage
from overnight.flows.report.population import diversity, functions_of, niches, scored_points
from overnight.flows.report.repeat_command import command_of
from overnight.flows.report.run_data import Row, RunData, bodies_of, made, read_run_data
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import NO_MODELS, pruned_from
from overnight.schemas.report_data import NO_DRAWINGS, Drawings, ReportData
from overnight.schemas.report_rows import (
    AsFound,
    Conversation,
    InputResult,
    MachineSummary,
    ModelSummary,
    NightSummary,
    ObjectivePoint,
    QuestionSummary,
    RequestSummary,
    SplitScores,
    TimeSpent,
)
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.interventions import pending_requests, read_interventions
from overnight.tasks.history.night_log import read_log
from overnight.tasks.history.private_files import open_private
from overnight.tasks.history.readings import readings_of
from overnight.tasks.history.rows import metrics_of
from overnight.tasks.history.under_way import read_under_way
from overnight.tasks.history.winners import scores_of
from overnight.tasks.report.conversation import read_conversation
from overnight.tasks.report.lineage_graph import line_of_descent
from overnight.tasks.report.page import render
from overnight.tasks.report.refusal import refusal
from overnight.tasks.tune.pruning import lengths

_FAILED_ATTEMPTS = (
    "SELECT error FROM generations WHERE run_id = ? AND state NOT IN ('committed', 'put off') ORDER BY started_at"
)

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

_LOG_LINES = 8

_MAX_STEPS = 8
"""Most programs of the line of descent that are drawn, its ends included."""

_TRANSCRIPTS = """
SELECT of_line.program_id, session.transcript
FROM programs AS of_line JOIN programs AS session
ON session.run_id = of_line.run_id AND session.generation = of_line.generation
    AND session.index // $2 = of_line.index // $2 AND session.transcript IS NOT NULL
WHERE of_line.run_id = $1 AND list_contains($3, of_line.program_id)
"""
"""Query for the work of an agent, for the program that it handed back and for those that it had scored before."""

_PROGRAM = """
SELECT body, operator, parent_ids, scores, metrics_by_input, notes FROM programs WHERE run_id = ? AND program_id = ?
"""

_WINNER = """
SELECT program_id FROM winners WHERE run_id = ? AND coalesce(night <= ?, true) ORDER BY night DESC LIMIT 1
"""

_MAX_POINTS = 1500
"""Most programs beside the front that its charts show."""

_OBJECTIVES = """
SELECT own.program_id, own.score, own.metrics, front.program_id IS NOT NULL AS is_on_front
FROM programs AS own
LEFT JOIN front ON front.run_id = own.run_id AND front.program_id = own.program_id
WHERE own.run_id = ? AND own.outcome = 'scored' ORDER BY own.place, own.index
"""

_QUESTIONS = """
SELECT model, coalesce(answers, 0) AS answers, tokens, cost_usd, has_unknown_costs
FROM (
    SELECT model, sum(tokens_in + tokens_out)::BIGINT AS tokens, coalesce(sum(cost_usd), 0) AS cost_usd,
        sum(unpriced) > 0 AS has_unknown_costs
    FROM costs WHERE run_id = $1 AND purpose = 'question' GROUP BY model
)
LEFT JOIN (SELECT model, count(answer) AS answers FROM questions WHERE run_id = $1 GROUP BY model) USING (model)
ORDER BY model
"""

_MAX_INPUTS = 200
"""Most inputs of the best program that are listed."""

_MODELS = """
WITH own AS (
    SELECT model, regexp_replace(model, '^agent:[^/]+/', '') AS asks, count(*) AS samples,
        histogram(outcome) AS outcomes, max(score) AS best, min((place, index)) AS first,
        median(latency_s) AS latency_s,
        count(*) FILTER (list_contains($4, program_id)) AS improvements, sum(tokens_in + tokens_out) AS tokens
    FROM programs WHERE run_id = $1 AND place BETWEEN $2 AND $3 GROUP BY model
),
agents AS (  -- several that ask one model share its turns as their programs do the tokens
    SELECT model AS agent, asks, coalesce(tokens / sum(tokens) OVER its, 1 / count(*) OVER its) AS share
    FROM own WHERE asks <> model WINDOW its AS (PARTITION BY asks)
),
paid AS (
    SELECT coalesce(agent, model) AS model, sum(unpriced) > 0 AS has_unknown_costs,
        round(sum(tokens_in * coalesce(share, 1)))::BIGINT AS tokens_in,
        round(sum(tokens_out * coalesce(share, 1)))::BIGINT AS tokens_out,
        round(sum(tokens_cached * coalesce(share, 1)))::BIGINT AS tokens_cached,
        sum(cost_usd * coalesce(share, 1)) AS cost_usd
    FROM costs LEFT JOIN agents ON purpose = 'turn' AND asks = model
    WHERE run_id = $1 AND purpose <> 'question' AND coalesce(night = $5, true) GROUP BY ALL
)
SELECT coalesce(model, 'unknown') AS model, coalesce(samples, 0) AS samples, outcomes, best,
    coalesce(improvements, 0) AS improvements, latency_s,
    coalesce(tokens_in, 0) AS tokens_in, coalesce(tokens_out, 0) AS tokens_out,
    coalesce(tokens_cached, 0) AS tokens_cached, cost_usd, coalesce(has_unknown_costs, false) AS has_unknown_costs
FROM own FULL JOIN paid USING (model)
ORDER BY samples DESC, first, model
"""

_SPENT = """
SELECT coalesce(sum(cost_usd), 0) AS cost_usd, coalesce(sum(unpriced) > 0, false) AS has_unknown_costs
FROM costs WHERE run_id = ? AND coalesce(night = ?, true)
"""


def build_report(database: Database, files: RunFiles, night: int | None = None) -> ReportData:
    """Return the report's data of a run, or of one night of it, as its files are now."""
    run_data = read_run_data(database, files, night)
    problem = run_data.run.problem
    nights = _nights(run_data)
    (winner,) = run_data.rows(_WINNER, night)
    (spent,) = run_data.rows(_SPENT, night)
    best = scores_of(database, files.run_id, winner["program_id"])
    (best_row,) = run_data.rows(_PROGRAM, best.program_id)
    body = best_row["body"]
    points, left_out = scored_points(run_data)
    return ReportData(
        run=run_data.run,
        night=night,
        nights=nights,
        start=scores_of(database, files.run_id, run_data.summaries[0].best_program_id),
        best=best,
        best_function=problem.specification.function_text(body),
        best_specification=problem.specification.program(body).shown,
        as_found=_as_found(run_data, best_row),
        refused=_refused(run_data, nights, best.program_id),
        best_inputs=_input_results(run_data, best_row),
        objective_points=_objective_points(run_data),
        generations=run_data.summaries,
        new_bests=run_data.new_bests,
        points=points,
        points_left_out=left_out,
        functions=functions_of(run_data, points),
        diversity=diversity(run_data),
        niches=niches(run_data),
        lineage=lineage(run_data, best.program_id),
        models=_models(run_data),
        requests=_requests(run_data, files),
        questions=tuple(QuestionSummary(**row) for row in run_data.rows(_QUESTIONS)),
        readings=tuple(readings_of(files)),
        conversations=_conversations(run_data, best.program_id),
        machines=_machines(run_data),
        log=_log(files, nights),
        under_way=read_under_way(files, run_data.all_summaries[-1].best),
        failures=failures(run_data),
        repeats=repeats(run_data),
        failed_attempts=tuple(row["error"] for row in run_data.rows(_FAILED_ATTEMPTS)),
        time_spent=_time_spent(run_data, nights),
        command=_command(run_data),
        built_at=datetime.now(UTC),
        **spent,
    )


def _command(run_data: RunData) -> str:
    """Return the command that repeats all nights so far as one; the tuner's programs count as no samples."""
    of_nights = {one.place for one in run_data.all_summaries if one.night and one.place <= run_data.last_place}
    samples = sum(row["place"] in of_nights and row["model"] not in NO_MODELS for row in run_data.candidates)
    in_flight = run_data.nights[0]["samples_in_flight"] if run_data.nights else None
    return command_of(run_data.run, samples, in_flight)


def _as_found(run_data: RunData, row: Row) -> AsFound | None:
    """Return the program that one was pruned from; `None` if it was not pruned."""
    if not (original := pruned_from(row["operator"], row["parent_ids"])):
        return None
    body = bodies_of(run_data.database, run_data.run.run_id, [original])[original]
    said = lengths(run_data.run.problem.specification, body, row["body"])
    return AsFound(original, run_data.function_text(body), said)


def _refused(run_data: RunData, nights: Sequence[NightSummary], best: str) -> str:
    """Return what pruning left of the best program, and how it is worse on the held-out inputs; empty if it is not."""
    for night in reversed(nights):
        scores = {one.program_id: one for one in night.finalists}
        for name, one in scores.items():
            row = run_data.by_id.get(name)
            if row and best in scores and pruned_from(row["operator"], row["parent_ids"]) == best:
                how = refusal(one, scores[best])
                return f"{name} {how}" if how else ""
    return ""


def _input_results(run_data: RunData, row: Row) -> tuple[InputResult, ...]:
    """Return a program's results on the first training inputs; none if there are only scores."""
    metrics, notes = dict(row["metrics_by_input"] or ()), row["notes"] or ()
    if not metrics and not notes:
        return ()
    calls = run_data.run.problem.inputs["train"][:_MAX_INPUTS]
    metrics = {name: [*values, *repeat(None, len(calls))] for name, values in metrics.items()}
    notes = [*notes, *repeat("", len(calls))]
    return tuple(
        InputResult(
            number=place + 1,
            arguments=str(call),
            score=score,
            metrics={name: values[place] for name, values in metrics.items()},
            note=notes[place] or "",
        )
        for place, (call, score) in enumerate(zip(calls, row["scores"], strict=False))
    )


def _objective_points(run_data: RunData) -> tuple[ObjectivePoint, ...]:
    """Return the programs of the front, and an even choice of the others; none where the score alone counts."""
    names = run_data.run.problem.settings.objectives.metrics
    if not names:
        return ()
    rows = run_data.rows(_OBJECTIVES)
    chosen = set(spread([row["program_id"] for row in rows if not row["is_on_front"]], _MAX_POINTS))
    return tuple(
        made(ObjectivePoint, row, values={"score": row["score"], **{name: metrics[name] for name in names}})
        for row in rows
        if (metrics := metrics_of(row)).keys() >= names.keys() and (row["is_on_front"] or row["program_id"] in chosen)
    )


def _nights(run_data: RunData) -> tuple[NightSummary, ...]:
    """Return the nights that the report covers."""
    return tuple(
        made(
            NightSummary,
            row,
            finalists=tuple(SplitScores(**finalist) for finalist in row["finalists"]),
        )
        for row in run_data.nights
        if run_data.night in (None, row["night"])
    )


def _models(run_data: RunData) -> tuple[ModelSummary, ...]:
    new_bests = [one.best_program_id for one in run_data.new_bests[1:]]
    rows = run_data.rows(_MODELS, run_data.first_place, run_data.last_place, new_bests, run_data.night)
    for row in rows:
        counts = dict(row["outcomes"] or ())
        row["outcomes"] = {kind.value: counts[kind.value] for kind in Outcome if kind.value in counts}
    return tuple(ModelSummary(**row) for row in rows)


def _requests(run_data: RunData, files: RunFiles) -> tuple[RequestSummary, ...]:
    """Return what people asked for: what the run has taken, and what still waits for a night to take it."""
    rows = {row["id"]: row for row in run_data.rows("FROM interventions WHERE run_id = ?")}
    taken = [(one, one.generation, rows[one.id]) for one in read_interventions(files) if one.id in rows]
    waiting = [(one, 0, {"samples": 0, "gain": None}) for one in pending_requests(files)]
    return tuple(
        RequestSummary(one.asked_at, one.author, one.words, generation, row["samples"], row["gain"])
        for one, generation, row in (*taken, *waiting)
    )


def _conversations(run_data: RunData, best: str) -> dict[str, Conversation]:
    """Return what agents did for the best program and those that it descends from."""
    line = [one.program_id for one in line_to(run_data, best)]
    rows = run_data.rows(_TRANSCRIPTS, run_data.run.problem.settings.candidates_per_prompt, line)
    return {row["program_id"]: read_conversation(row["transcript"]) for row in rows}


def _log(files: RunFiles, nights: Sequence[NightSummary]) -> tuple[str, ...]:
    """Return the last lines of the log of the last night, if it has not ended."""
    if not nights or nights[-1].ended_at is not None:
        return ()
    lines = [line for night, line in read_log(files) if night == nights[-1].night]
    return tuple(lines[-_LOG_LINES:])


def _machines(run_data: RunData) -> tuple[MachineSummary, ...]:
    """Return what each machine did; nothing for a run that was evaluated on its own machine alone."""
    rows = run_data.rows(_MACHINES, run_data.night)
    return tuple(MachineSummary(**row) for row in rows) if any(row["name"] for row in rows) else ()


def _time_spent(run_data: RunData, nights: Sequence[NightSummary]) -> TimeSpent:
    rows, candidates = run_data.covered(run_data.generations), run_data.covered(run_data.candidates)
    sums = {name: sum(row[name] for row in rows) for name in ("sample_s", "evaluate_s", "select_s")}
    return TimeSpent(
        nights_s=sum((night.seen_at - night.started_at).total_seconds() for night in nights),
        generations_s=_covered_s([(row["started_at"], row["ended_at"]) for row in rows]),
        candidates_s=sum(row["wall_s"] for row in candidates),
        cpu_s=sum(row["cpu_s"] for row in candidates),
        **sums,
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
    run = report.run
    found = bodies_of(database, run.run_id, wanted)
    bodies = {name: found[name] for name in wanted if name in found}
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
