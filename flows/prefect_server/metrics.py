"""Metrics of a history for Prometheus: the server of `overnight schedule serve` has them at `/api/overnight/metrics`.

They are read from the files at each request, so they tell of nights of any process, and need the server's password.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from overnight.schemas.errors import OvernightError
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

PATH = "/overnight/metrics"
"""Path below that of Prefect's API."""

_MOST_RUNS = 50
"""Latest runs that are told of, so that the number of time series stays bounded."""

_RUNS = """
SELECT
    run_id, problem, best_score, generations, samples,
    epoch(coalesce(ended_at, started_at)) AS last_commit_timestamp_seconds,
    coalesce(cost_usd, 0) AS cost_usd,
    (SELECT count(*) FROM nights WHERE nights.run_id = runs.run_id) AS nights,
    (SELECT coalesce(sum(paused_s), 0) FROM nights WHERE nights.run_id = runs.run_id) AS paused_seconds,
    (SELECT coalesce(sum(tokens_in + tokens_out), 0) FROM costs WHERE costs.run_id = runs.run_id) AS tokens
FROM runs ORDER BY coalesce(ended_at, started_at) DESC LIMIT ?
"""
_OUTCOMES = """
SELECT run_id, problem, outcome, count(*) AS candidates FROM programs JOIN runs USING (run_id)
WHERE run_id IN (SELECT run_id FROM runs ORDER BY coalesce(runs.ended_at, runs.started_at) DESC LIMIT ?)
GROUP BY ALL ORDER BY ALL
"""
_METRICS = (
    (GaugeMetricFamily, "best_score", "best score of the run on the training inputs"),
    (GaugeMetricFamily, "last_commit_timestamp_seconds", "time of the last commit of the run, seconds since 1970"),
    (CounterMetricFamily, "generations", "number of the last committed generation"),
    (CounterMetricFamily, "samples", "samples of all generations"),
    (CounterMetricFamily, "tokens", "tokens of prompts and completions"),
    (
        CounterMetricFamily,
        "cost_usd",
        "cost of all nights and of what came before them, USD; unknown prices count as 0",
    ),
    (CounterMetricFamily, "nights", "nights, those that were killed too"),
    (CounterMetricFamily, "paused_seconds", "seconds spent waiting during outages"),
)
"""Kind, column of `_RUNS` and meaning of each metric of a run."""

_LABELS = ("run", "problem")


class HistoryCollector(Collector):
    """Collector of a history's metrics.

    Args:
        history: Its directory or URL.
    """

    def __init__(self, history: str) -> None:
        self._history = history

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the metrics; of a history that cannot be read, `overnight_history_readable` alone, as 0."""
        readable = GaugeMetricFamily("overnight_history_readable", "1 if the history was read, else 0")
        try:
            backend = open_history(self._history)
            backend.refresh()
            database = Database(backend.root)
            runs, outcomes = database.rows(_RUNS, [_MOST_RUNS]), database.rows(_OUTCOMES, [_MOST_RUNS])
            database.close()
        except OvernightError:
            readable.add_metric([], 0)
            yield readable
            return
        readable.add_metric([], 1)
        yield readable
        for kind, column, meaning in _METRICS:
            family = kind(f"overnight_run_{column}", meaning, labels=_LABELS)
            for row in runs:
                if row[column] is not None:
                    family.add_metric([row["run_id"], row["problem"]], row[column])
            yield family
        family = CounterMetricFamily("overnight_run_candidates", "candidates by outcome", labels=(*_LABELS, "outcome"))
        for row in outcomes:
            family.add_metric([row["run_id"], row["problem"], row["outcome"]], row["candidates"])
        yield family


def add_metrics(api: Starlette, history: str) -> None:
    """Add the page of a history's metrics to Prefect's API, whose password it asks for."""
    from starlette.responses import Response

    registry = CollectorRegistry(auto_describe=False)
    registry.register(HistoryCollector(history))

    def metrics(_: Request) -> Response:  # no coroutine, since it reads files: it runs in a thread
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    api.add_route(PATH, metrics)
