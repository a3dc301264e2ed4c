"""Runs beside each other: the best score of each over its samples, and what sets them apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from schemas.errors import UsageError
from schemas.report_data import RunCurve, SplitScores
from schemas.settings import flat_settings
from tasks.history.database import Database

Row = dict[str, Any]

_RUNS = """
SELECT run_id, problem, title, started_at, seed, settings, specification_hash, samples, cost_usd, start_score,
    best_score, best_program_id
FROM runs WHERE ? IS NULL OR list_contains(?, run_id) ORDER BY started_at
"""
_GENERATIONS = """
SELECT run_id, candidates * (generation > 0)::INT AS candidates, best_score
FROM generations WHERE state = 'committed' AND (? IS NULL OR list_contains(?, run_id)) ORDER BY run_id, generation
"""
_NIGHTS = """
SELECT run_id, best_program_id, best_after, finalists, stop_reason, ended_at IS NULL AS is_open,
    coalesce(epoch(ended_at - started_at), 0) AS seconds
FROM nights WHERE ? IS NULL OR list_contains(?, run_id) ORDER BY run_id, night
"""


def score_curves(database: Database, run_ids: Sequence[str]) -> tuple[RunCurve, ...]:
    """The runs' curves, grouped by the settings that differ between them.

    Raises:
        UsageError: If they are not of one problem.
    """
    rows = _runs(database, run_ids)
    problems = sorted({row["problem"] for row in rows})
    if len(problems) > 1:
        raise UsageError(
            f"runs of different problems have scores of different kinds: {', '.join(problems)}",
            remedy="Compare runs of one problem; `overnight runs` lists them.",
        )
    return _curves(database, rows, _groups(rows), run_ids)


def every(database: Database) -> tuple[RunCurve, ...]:
    """The curves of all runs of the history, grouped by their models; oldest first."""
    rows = _runs(database, None)
    return _curves(database, rows, {row["run_id"]: _models(_settings(row)) for row in rows}, None)


def _runs(database: Database, run_ids: Sequence[str] | None) -> list[Row]:
    chosen = list(run_ids) if run_ids is not None else None
    return database.rows(_RUNS, [chosen, chosen])


def _curves(
    database: Database, rows: Sequence[Row], groups: Mapping[str, str], run_ids: Sequence[str] | None
) -> tuple[RunCurve, ...]:
    chosen = list(run_ids) if run_ids is not None else None
    generations, nights = (_by_run(database.rows(query, [chosen, chosen])) for query in (_GENERATIONS, _NIGHTS))
    return tuple(_curve(row, groups[row["run_id"]], generations[row["run_id"]], nights[row["run_id"]]) for row in rows)


def _by_run(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["run_id"]].append(row)
    return found


def _curve(run: Row, group: str, generations: Sequence[Row], nights: Sequence[Row]) -> RunCurve:
    steps: list[tuple[int, float]] = []
    samples = 0
    for row in generations:
        samples += row["candidates"]
        if not steps or row["best_score"] > steps[-1][1]:
            steps.append((samples, row["best_score"]))
    last = nights[-1] if nights else None
    return RunCurve(
        run_id=run["run_id"],
        problem=run["title"] or run["problem"],
        group=group,
        seed=run["seed"],
        started_at=run["started_at"],
        samples=samples,
        seconds=sum(night["seconds"] for night in nights),
        cost_usd=run["cost_usd"] or 0.0,
        start=run["start_score"],
        steps=tuple(steps),
        best=_best(run, nights),
        stop_reason="not ended" if last and last["is_open"] else (last or {}).get("stop_reason") or "no night",
    )


def _best(run: Row, nights: Sequence[Row]) -> SplitScores:
    """The winner of the last final unless a better program came after it."""
    final = next((night for night in reversed(nights) if night["finalists"]), None)
    if final is not None and final["best_after"] >= run["best_score"]:
        chosen = {one["program_id"]: one for one in final["finalists"]}.get(final["best_program_id"])
        if chosen:
            return SplitScores(**chosen)
    return SplitScores(run["best_program_id"], run["best_score"])


def _groups(rows: Sequence[Row]) -> dict[str, str]:
    """In words, what sets each run apart: its models, and every setting that is not the same in all of them."""
    settings = {row["run_id"]: _settings(row) for row in rows}
    hashes = {row["specification_hash"] for row in rows}
    names = sorted({name for one in settings.values() for name in one})
    differing = [name for name in names if len({repr(one.get(name)) for one in settings.values()}) > 1]
    groups = {}
    for row in rows:
        own = settings[row["run_id"]]
        words = [_models(own)] if "sampling.models" in differing or not differing else []
        words += [f"{name} {_short(own.get(name))}" for name in differing if name != "sampling.models"]
        words += [f"specification {row['specification_hash'][:6]}"] * (len(hashes) > 1)
        groups[row["run_id"]] = ", ".join(words)
    return groups


def _settings(row: Row) -> dict[str, Any]:
    return flat_settings(orjson.loads(row["settings"]))


def _models(settings: Mapping[str, Any]) -> str:
    models = settings["sampling.models"]
    if len(models) == 1:
        return models[0]["name"]
    return " + ".join(f"{model['name']}={model['weight']:g}" for model in models)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:39]}…"
