"""Log the runs of a history to MLflow: settings as parameters, the score after each generation as a metric.

    pip install mlflow
    MLFLOW_TRACKING_URI=… python to_mlflow.py [HISTORY]

What there is to log comes from `overnight sql`, whose views are a stable interface, so any other tracker is fed the
same way. It may be repeated after each night: a run is found again by its tag, and only its new generations are logged.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import mlflow  # pyright: ignore[reportMissingImports]

GENERATIONS = """
SELECT generation, epoch_ms(ended_at) AS ended_ms, best_score, generation_best, candidates, cost_usd
FROM generations WHERE run_id = '{run_id}' AND state = 'committed' AND generation > {logged} ORDER BY place
"""
METRICS = ("best_score", "generation_best", "candidates", "cost_usd")
TAG = "overnight.run_id"


def rows(query: str, history: str) -> list[dict[str, Any]]:
    """Return the rows of a query over a history."""
    command = ["overnight", "sql", query, "--format", "json", "--history", history]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def log_run(run: dict[str, Any], history: str) -> None:
    """Log one run of the view `runs`, or what is new of it."""
    known = mlflow.search_runs(filter_string=f"tags.`{TAG}` = '{run['run_id']}'", output_format="list")
    with mlflow.start_run(run_id=known[0].info.run_id if known else None, run_name=run["run_id"]):
        logged = -1
        if known:
            logged = int(known[0].data.metrics.get("generation", -1))
        else:
            settings = json.loads(run["settings"])
            mlflow.set_tags({TAG: run["run_id"], "problem": run["problem"]})
            mlflow.log_params({f"search.{name}": value for name, value in settings["search"].items()})
            models = [model["name"] for model in settings["sampling"]["models"]]
            mlflow.log_params({"seed": run["seed"], "models": models})
        for row in rows(GENERATIONS.format(run_id=run["run_id"], logged=logged), history):
            found = {name: row[name] for name in METRICS if row[name] is not None}
            metrics = {"generation": row["generation"], **found}
            mlflow.log_metrics(metrics, step=row["generation"], timestamp=row["ended_ms"])


def main() -> None:
    """Log all runs of the history that is named, `history` by default."""
    history = sys.argv[1] if len(sys.argv) > 1 else "history"
    mlflow.set_experiment("overnight")
    for run in rows("FROM runs ORDER BY run_id", history):
        log_run(run, history)


if __name__ == "__main__":
    main()
