"""Builds each run's best score over its samples, for a comparison of runs grouped by their settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from overnight.flows.report.run_data import Row, made
from overnight.schemas.errors import HistoryError, UsageError
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import TUNER
from overnight.schemas.run_curve import RunCurve
from overnight.schemas.settings import flat_settings, parse_settings
from overnight.tasks.history.database import Database
from overnight.tasks.history.winners import best_programs
from overnight.tasks.select.front import Goals, hypervolume

_RUNS = f"""
WITH ended AS (
    SELECT run_id, sum(epoch(seen_at - started_at)) AS seconds,
        arg_max(if(ended_at IS NULL, 'not ended', nullif(stop_reason, '')), night) AS stop_reason
    FROM nights GROUP BY run_id
), risen AS (
    SELECT run_id, list([sample, best_score] ORDER BY place) AS steps
    FROM (
        SELECT run_id, place, best_score, samples_so_far AS sample,
            max(best_score) OVER (
                PARTITION BY run_id ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before
        FROM generations WHERE state = 'committed'
    ) WHERE best_score > coalesce(before, -'inf'::DOUBLE) GROUP BY run_id
), tuned AS (
    SELECT run_id, sum(score - before) AS tuner_gain FROM (
        SELECT run_id, model, score, max(score) OVER (
            PARTITION BY run_id ORDER BY place, index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before
        FROM programs WHERE score IS NOT NULL
    ) WHERE model = '{TUNER}' AND score > before GROUP BY run_id
)
SELECT run_id, own.problem, title, own.started_at, seed, settings, specification_hash,
    coalesce(samples, 0) AS samples, coalesce(cost_usd, 0) AS cost_usd, start_score AS start, best_score,
    coalesce(seconds, 0) AS seconds, coalesce(stop_reason, 'no night') AS stop_reason, steps,
    coalesce(tuner_gain, 0) AS tuner_gain, has_unknown_costs
FROM runs AS own LEFT JOIN ended USING (run_id) LEFT JOIN risen USING (run_id) LEFT JOIN tuned USING (run_id)
WHERE coalesce(list_contains(?::VARCHAR[], run_id), true) ORDER BY own.started_at, run_id
"""
"""The named runs, or all."""

_FRONTS = "SELECT run_id, score, metrics FROM front WHERE run_id IN (SELECT unnest(?::VARCHAR[]))"

_Models = Sequence[Mapping[str, Any]]

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
    rows = [row for row in database.rows(_RUNS, [None]) if row["best_score"] is not None]
    return _curves(database, rows, {row["run_id"]: _models(_settings(row)["sampling.models"]) for row in rows})


def _curves(database: Database, rows: Sequence[Row], groups: Mapping[str, str]) -> tuple[RunCurve, ...]:
    best = best_programs(database)
    return tuple(
        made(
            RunCurve,
            row,
            problem=row["title"] or row["problem"],
            group=groups[row["run_id"]],
            steps=tuple((int(sample), score) for sample, score in row["steps"]),
            best=best[row["run_id"]],
        )
        for row in rows
    )


def _groups(rows: Sequence[Row]) -> dict[str, str]:
    """Return the name of each run's group: its models, and every setting that is not the same in all runs."""
    settings = {row["run_id"]: _settings(row) for row in rows}
    hashes = {row["specification_hash"] for row in rows}
    names = sorted({name for of_run in settings.values() for name in of_run})
    differing = [name for name in names if len({repr(of_run.get(name)) for of_run in settings.values()}) > 1]
    models = [of_run["sampling.models"] for of_run in settings.values()]
    groups = {}
    for row in rows:
        own = settings[row["run_id"]]
        parts = [_models(own["sampling.models"], models)] if "sampling.models" in differing or not differing else []
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


def _models(models: _Models, compared: Sequence[_Models] = ()) -> str:
    """Return the models of a run, with what else is not the same in runs with models of the same names and weights."""
    name = _names(models)
    others = [one for one in compared if _names(one) == name]
    for place, model in enumerate(models):
        keys = sorted({key for one in others for key in one[place]})
        differing = [key for key in keys if len({repr(one[place].get(key)) for one in others}) > 1]
        of = f" of {model['name']}" if len(models) > 1 else ""
        name += "".join(f", {key}{of} {_shortened(model.get(key))}" for key in differing)
    return name


def _names(models: _Models) -> str:
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
