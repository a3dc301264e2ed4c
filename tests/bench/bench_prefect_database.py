"""The size of the embedded Prefect database over many nights: it levels once flow runs are old enough to be deleted.

    python -m tests.bench.bench_prefect_database [GENERATIONS] [A_DAY]

Generations are flow runs of three tasks, without models and containers. After each day all rows are made a day older,
and the server is started again, as each night starts one; three days are kept.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from overnight.flows.environment import prepare

prepare()

from prefect import flow, task  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: E402

from overnight.flows.prefect_server.embedded import EmbeddedServer, using_server  # noqa: E402
from overnight.flows.prefect_server.pruning import VARIABLE, kept_for, prune  # noqa: E402

DAYS_KEPT = 3
OLDER = {
    "flow_run": ("end_time", "start_time", "expected_start_time"),
    "events": ("occurred", "received"),
    "event_resources": ("occurred",),
}


@task
def step(number: int) -> int:
    return number


@flow(name="generation")
def generation(run_id: str, number: int, history: str) -> None:
    for k in range(3):
        step.submit(number + k).result()


@flow(name="search")
def search(run_id: str, history: str, first: int, count: int) -> None:
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for number in range(first, first + count):
            generation(run_id, number, history)


def spend_day(first: int, count: int) -> float:
    """One night on a server of its own; returns the seconds that deleting what is old took."""
    server = EmbeddedServer()
    try:
        server.wait()
        with using_server(server):
            search("bench", "/nowhere", first, count)
            begin = time.monotonic()
            with get_client(sync_client=True) as client:
                prune(client, datetime.now(UTC) - kept_for())
            return time.monotonic() - begin
    finally:
        server.stop()


def grow_older(file: Path) -> float:
    """Make all rows a day older; return the size of the database in MiB, with the pages that are free."""
    with sqlite3.connect(file) as database:
        for table, columns in OLDER.items():
            older = ", ".join(f"{name} = strftime('%Y-%m-%d %H:%M:%f', {name}, '-1 day')" for name in columns)
            database.execute(f"UPDATE {table} SET {older}")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return file.stat().st_size / 1024**2


def main() -> None:
    generations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    a_day = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    os.environ[VARIABLE] = f"{DAYS_KEPT}d"
    with tempfile.TemporaryDirectory() as home:
        os.environ["PREFECT_HOME"] = home
        for first in range(0, generations, a_day):
            prune_s = spend_day(first, a_day)
            size = grow_older(Path(home) / "prefect.db")
            print(f"{first + a_day:6} generations: {size:7.2f} MiB; deleting took {prune_s:.1f} s", flush=True)


if __name__ == "__main__":
    main()
