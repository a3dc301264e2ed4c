"""The worked example of an experiment tracker logs each generation once, also when it is repeated after a night."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.tasks.history.database import Database
from overnight.testing.made import create, grow

mlflow = pytest.importorskip("mlflow", reason="pip install mlflow")
EXAMPLE = Path(__file__).with_name("to_mlflow.py")


def test_each_generation_of_each_run_is_logged_once(tmp_path: Path):
    store = tmp_path / "mlruns"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": store.as_uri(),
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }
    files = create(tmp_path / "history", islands=2, prompts=3)
    for generations in (2, 1):
        grow(files, generations)
        subprocess.run([sys.executable, EXAMPLE, tmp_path / "history"], env=environment, check=True)
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = mlflow.MlflowClient(store.as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'overnight'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.tags["overnight.run_id"] == files.run_id
    assert run.data.params["seed"] == "7"
    logged = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "best_score")]
    wanted = Database(tmp_path / "history").rows("SELECT generation, best_score FROM generations ORDER BY generation")
    assert logged == [(row["generation"], row["best_score"]) for row in wanted]
