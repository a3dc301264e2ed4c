"""Builds each run's best score over its samples, for a comparison of runs grouped by their settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from overnight.schemas.errors import HistoryError, UsageError
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import TUNER
from overnight.schemas.report_data import RunCurve, SplitScores
from overnight.schemas.settings import flat_settings, parse_settings
from overnight.tasks.history.database import Database
from overnight.tasks.select.front import Goals, hypervolume

Row = dict[str, Any]

_RUNS = """
SELECT run_id, problem, title, started_at, seed, settings, specification_hash, samples, cost_usd, start_score,
    best_score, best_program_id
FROM runs WHERE run_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY started_at, run_id
"""
_GENERATIONS = """
SELECT run_id, candidates * (generation > 0)::INT AS candidates, best_score
FROM generations WHERE state = 'committed' AND run_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY run_id, place
"""
_NIGHTS = """
SELECT run_id, best_program_id, finalists, stop_reason, ended_at IS NULL AS is_open,
    epoch(seen_at - started_at) AS seconds, (
        SELECT arg_max(best_program_id, place) FROM generations AS own
        WHERE own.run_id = nights.run_id AND own.night <= nights.night AND own.state = 'committed'
    ) AS best_then
FROM nights WHERE run_id IN (SELECT unnest(?::VARCHAR[])) ORDER BY run_id, night
"""
_TUNER_GAINS = f"""
WITH scored AS (
    SELECT run_id, model, score, max(score) OVER (
        PARTITION BY run_id ORDER BY place, index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS best_before
    FROM programs WHERE score IS NOT NULL AND run_id IN (SELECT unnest(?::VARCHAR[]))
)
SELECT run_id, sum(score - best_before) AS gain FROM scored
WHERE model = '{TUNER}' AND score > best_before GROUP BY run_id
"""

_UNKNOWN_COSTS = """
SELECT DISTINCT run_id FROM (
    SELECT run_id, cost_usd FROM programs WHERE generation > 0 UNION ALL SELECT run_id, cost_usd FROM questions
) WHERE cost_usd IS NULL AND run_id IN (SELECT unnest(?::VARCHAR[]))
"""

_FRONTS = "SELECT run_id, score, metrics FROM front WHERE run_id IN (SELECT unnest(?::VARCHAR[]))"

_BELOW = -0.1
"""Reference point in each objective, below the worst of all fronts: in units of their range, so that ends count."""


def score_curves(database: Database, run_ids: Sequence[str]) -> tuple[RunCurve, ...]:
    """Return the runs' curves, grouped by the settings that differ between them.

    Raises:
        UsageError: If the runs are not of one problem.
        HistoryError: If the generations of a run are gone.
    """
    rows = database.rows(_RUNS, [list(run_ids)])
    for row in rows:
        if row["best_score"] is None:
            raise HistoryError(
                f"run {row['run_id']} has no generations with a score",
                remedy="Restore its folder from a copy, or leave it out.",
            )
    problems = sorted({row["problem"] for row in rows})
    if len(problems) > 1:
        raise UsageError(
            f"scores of different problems cannot be compared: {', '.join(problems)}",
            remedy="Compare runs of one problem; `overnight runs` lists them.",
        )
    found = hypervolumes(database, {row["run_id"]: _objectives(row) for row in rows})
    curves = _curves(database, rows, _groups(rows))
    return tuple(replace(curve, hypervolume=found.get(curve.run_id)) for curve in curves)


def all_score_curves(database: Database) -> tuple[RunCurve, ...]:
    """Return the curves of all runs of the history, grouped by their models, oldest first.

    A run whose generations are gone has none.
    """
    rows = [row for row in database.rows(_RUNS, [_all_runs(database)]) if row["best_score"] is not None]
    return _curves(database, rows, {row["run_id"]: _models(_settings(row)) for row in rows})


def best_programs(database: Database) -> dict[str, SplitScores]:
    """Return the best program of each run of the history, as `overnight best` names it, with its scores."""
    run_ids = _all_runs(database)
    nights = _by_run(database.rows(_NIGHTS, [run_ids]))
    return {row["run_id"]: _best(row, nights[row["run_id"]]) for row in database.rows(_RUNS, [run_ids])}


def _all_runs(database: Database) -> list[str]:
    return [row["run_id"] for row in database.rows("SELECT run_id FROM runs")]


def _curves(database: Database, rows: Sequence[Row], groups: Mapping[str, str]) -> tuple[RunCurve, ...]:
    run_ids = list(groups)
    generations, nights = (_by_run(database.rows(query, [run_ids])) for query in (_GENERATIONS, _NIGHTS))
    tuner_gains = {row["run_id"]: row["gain"] for row in database.rows(_TUNER_GAINS, [run_ids])}
    unknown = {row["run_id"] for row in database.rows(_UNKNOWN_COSTS, [run_ids])}
    return tuple(
        RunCurve(
            run_id=run_id,
            problem=run["title"] or run["problem"],
            group=groups[run_id],
            seed=run["seed"],
            started_at=run["started_at"],
            samples=sum(row["candidates"] for row in generations[run_id]),
            seconds=sum(night["seconds"] for night in nights[run_id]),
            cost_usd=run["cost_usd"] or 0.0,
            start=run["start_score"],
            steps=_steps(generations[run_id]),
            tuner_gain=tuner_gains.get(run_id, 0.0),
            best=_best(run, nights[run_id]),
            stop_reason=_stop_reason(nights[run_id]),
            has_unknown_costs=run_id in unknown,
        )
        for run in rows
        for run_id in [run["run_id"]]
    )


def _by_run(rows: Sequence[Row]) -> dict[str, list[Row]]:
    by_run: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_run[row["run_id"]].append(row)
    return by_run


def _steps(generations: Sequence[Row]) -> tuple[tuple[int, float], ...]:
    """Return the numbers of samples at which the best score rose, each with the score from there on."""
    steps: list[tuple[int, float]] = []
    samples = 0
    for row in generations:
        samples += row["candidates"]
        if row["best_score"] is not None and (not steps or row["best_score"] > steps[-1][1]):
            steps.append((samples, row["best_score"]))
    return tuple(steps)


def _stop_reason(nights: Sequence[Row]) -> str:
    if not nights:
        return "no night"
    return "not ended" if nights[-1]["is_open"] else nights[-1]["stop_reason"] or "no night"


def _best(run: Row, nights: Sequence[Row]) -> SplitScores:
    """Return the winner of the last final evaluation, unless a better program came after it."""
    final = next((night for night in reversed(nights) if night["finalists"]), None)
    if final is not None:
        finalists = {finalist["program_id"]: finalist for finalist in final["finalists"]}
        if run["best_program_id"] == final["best_then"] and final["best_program_id"] in finalists:
            return SplitScores(**finalists[final["best_program_id"]])
    return SplitScores(run["best_program_id"], run["best_score"])


def _groups(rows: Sequence[Row]) -> dict[str, str]:
    """Return the name of each run's group: its models, and every setting that is not the same in all runs."""
    settings = {row["run_id"]: _settings(row) for row in rows}
    hashes = {row["specification_hash"] for row in rows}
    names = sorted({name for of_run in settings.values() for name in of_run})
    differing = [name for name in names if len({repr(of_run.get(name)) for of_run in settings.values()}) > 1]
    groups = {}
    for row in rows:
        own = settings[row["run_id"]]
        parts = [_models(own)] if "sampling.models" in differing or not differing else []
        parts += [f"{name} {_shortened(own.get(name))}" for name in differing if name != "sampling.models"]
        if len(hashes) > 1:
            parts.append(f"specification {row['specification_hash'][:6]}")
        groups[row["run_id"]] = ", ".join(parts)
    return groups


def _objectives(row: Row) -> Objectives:
    stored = orjson.loads(row["settings"]).get("objectives", {})
    return parse_settings({"objectives": stored}, row["run_id"], is_stored=True).objectives


def _settings(row: Row) -> dict[str, Any]:
    return flat_settings(orjson.loads(row["settings"]))


def _models(settings: Mapping[str, Any]) -> str:
    models = settings["sampling.models"]
    if len(models) == 1:
        return models[0]["name"]
    return " + ".join(f"{model['name']}={model['weight']:g}" for model in models)


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:39]}…"


def hypervolumes(database: Database, objectives: Mapping[str, Objectives]) -> dict[str, float]:
    """Return the hypervolume of each run's front, between 0 and 1: the share of what could be dominated.

    Every objective is in units of its range over the fronts of all runs, so that hypervolumes of one comparison compare
    with each other, and with no others. Runs without objectives, or with others than the first run, have none.
    """
    first = next((one for one in objectives.values() if one.metrics), None)
    alike = [run_id for run_id, one in objectives.items() if first and one.metrics == first.metrics]
    fronts: defaultdict[str, list[Goals]] = defaultdict(list)
    for row in database.rows(_FRONTS, [alike]) if alike else ():
        fronts[row["run_id"]].append(objectives[row["run_id"]].goals(row["score"], dict(row["metrics"])))
    return shares(fronts, [goals for front in fronts.values() for goals in front])


def shares(fronts: Mapping[str, Sequence[Goals]], everything: Sequence[Goals]) -> dict[str, float]:
    """Return the share of the space that each front dominates, scaled by the ranges of everything there is."""
    ranges = [(min(values), max(values)) for values in zip(*everything, strict=True)]
    reference = (_BELOW,) * len(ranges)

    def scaled(goals: Goals) -> Goals:
        """Return goals in units of the ranges; 1 where there is no range."""
        pairs = zip(goals, ranges, strict=True)
        return tuple((value - low) / (high - low) if high > low else 1.0 for value, (low, high) in pairs)

    whole = (1 - _BELOW) ** len(ranges)
    return {name: hypervolume([scaled(one) for one in front], reference) / whole for name, front in fronts.items()}
