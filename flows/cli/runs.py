"""`overnight runs`: list the runs in the history."""

from __future__ import annotations

from dataclasses import asdict

from flows.cli.printing import DEFAULT_HISTORY, History, OutputFormat, out, say, score, table, write_json
from flows.formatting import cost

_LONG = ("settings", "specification", "files")
"""Columns that are left out: `overnight sql` has them."""

_RUNS = """
SELECT runs.*, coalesce(has_unknown_costs, false) AS has_unknown_costs
FROM runs LEFT JOIN (
    SELECT run_id, bool_or(cost_usd IS NULL) AS has_unknown_costs FROM programs WHERE generation > 0 GROUP BY run_id
) USING (run_id) ORDER BY started_at DESC, run_id DESC
"""


def runs(*, format: OutputFormat = "text", history: History = DEFAULT_HISTORY) -> None:  # noqa: A002
    """List the runs in the history, newest first, with the scores of their best programs.

    A run's best program is the one that `overnight best` shows: chosen by the validation inputs, if there are any.
    """
    from flows.report.score_curves import best_programs
    from tasks.history.database import Database

    database = Database(history.root)
    found, best = database.rows(_RUNS), best_programs(database)
    if format == "json":
        facts = ({name: value for name, value in run.items() if name not in _LONG} for run in found)
        versions = {run["run_id"]: dict(run["versions"] or ()) for run in found}
        write_json([run | {"versions": versions[run["run_id"]], "best": asdict(best[run["run_id"]])} for run in facts])
        return
    if not found:
        say(f"no run in {history.location} yet; start one: overnight run bin-packing-or")
        return
    rows = [
        (
            run["run_id"],
            f"{run['started_at']:%Y-%m-%d %H:%M}",
            str(run["generations"] or 0),
            str(run["samples"] or 0),
            score(run["start_score"]),
            score(best[run["run_id"]].train),
            score(best[run["run_id"]].held_out),
            cost(run["cost_usd"] or 0.0, is_partly_unknown=run["has_unknown_costs"]),
        )
        for run in found
    ]
    columns = ("run", "started (UTC)", "generations", "samples", "start (train)", "best (train)", "held-out", "cost")
    spare = ("start (train)", "started (UTC)", "generations", "cost", "held-out")
    out().print(table(columns, rows, right=columns[2:], spare=spare))
    if passed_over := [run["run_id"] for run in found if _is_passed_over(run["best_score"], best[run["run_id"]].train)]:
        say(
            f"{', '.join(passed_over)}: another program scores higher on the training inputs; the best one is chosen "
            "by the validation inputs"
        )


def _is_passed_over(highest: float | None, chosen: float | None) -> bool:
    """Return whether the program with the highest training score is not the one that was chosen."""
    return highest is not None and chosen is not None and chosen < highest
