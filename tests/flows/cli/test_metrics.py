"""Metrics for Prometheus: what its own parser reads is what SQL says of the history."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from overnight.flows.prefect_server.metrics import HistoryCollector
from overnight.tasks.history.database import Database

Finished = tuple[Path, str]


def scraped(history: Path) -> dict[str, dict[frozenset[str], float]]:
    """Return the values of each metric, by the values of its labels, as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HistoryCollector(str(history)))
    found: dict[str, dict[frozenset[str], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.values())] = sample.value
    return found


def test_they_are_those_of_the_files(finished_history: Finished):
    history, run_id = finished_history
    found, database = scraped(history), Database(history)
    (run,) = database.rows("SELECT problem, best_score, samples FROM runs WHERE run_id = ?", [run_id])
    labels = frozenset((run_id, run["problem"]))
    assert found["overnight_history_readable"] == {frozenset(): 1.0}
    assert found["overnight_run_best_score"][labels] == run["best_score"]
    assert found["overnight_run_samples_total"][labels] == run["samples"]
    assert found["overnight_run_last_commit_timestamp_seconds"][labels] > 1_700_000_000
    outcomes = database.rows(
        "SELECT outcome, count(*)::DOUBLE AS n FROM programs WHERE run_id = ? GROUP BY ALL", [run_id]
    )
    for row in outcomes:
        assert found["overnight_run_candidates_total"][labels | {row["outcome"]}] == row["n"]


def test_a_history_that_cannot_be_read_is_told_by_a_metric(tmp_path: Path):
    damaged = tmp_path / "runs/x"
    damaged.mkdir(parents=True)
    (damaged / "run.parquet").write_bytes(b"no Parquet")
    assert scraped(tmp_path) == {"overnight_history_readable": {frozenset(): 0.0}}


def test_a_history_without_runs_has_no_metrics_of_runs(tmp_path: Path):
    assert scraped(tmp_path / "none") == {"overnight_history_readable": {frozenset(): 1.0}}
