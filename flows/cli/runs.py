"""`overnight runs`: list the runs in the history."""

from __future__ import annotations

from flows.cli.printing import DEFAULT_HISTORY, History, OutputFormat, out, say, score, table, write_json
from flows.formatting import cost

_LONG = ("settings", "specification", "files")
"""Columns that are left out: `overnight sql` has them."""

_RUNS = """
SELECT runs.*, coalesce(has_unknown_costs, false) AS has_unknown_costs
FROM runs LEFT JOIN (
    SELECT run_id, bool_or(cost_usd IS NULL) AS has_unknown_costs FROM programs WHERE generation > 0 GROUP BY run_id
) USING (run_id) ORDER BY started_at DESC
"""


def runs(*, format: OutputFormat = "text", history: History = DEFAULT_HISTORY) -> None:  # noqa: A002
    """List the runs in the history, newest first."""
    from tasks.history.database import Database

    found = Database(history.root).rows(_RUNS)
    if format == "json":
        write_json([{name: value for name, value in run.items() if name not in _LONG} for run in found])
        return
    if not found:
        say(f"no run in {history.location} yet; start one: overnight run bin-packing-or")
        return
    rows = [
        (
            run["run_id"],
            f"{run['started_at']:%Y-%m-%d %H:%M}",
            str(run["generations"]),
            str(run["samples"] or 0),
            score(run["start_score"]),
            score(run["best_score"]),
            cost(run["cost_usd"] or 0.0, is_partly_unknown=run["has_unknown_costs"]),
        )
        for run in found
    ]
    columns = ("run", "started (UTC)", "generations", "samples", "start", "best", "cost")
    out().print(table(columns, rows, right=columns[2:], spare=("start", "started (UTC)", "generations", "cost")))
