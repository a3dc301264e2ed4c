"""Everything that spreads over machines, together: nights from a pool of two workers whose Prefect server is on
PostgreSQL, with histories on object storage, and evaluation on a cluster of two machines.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from overnight.tasks.history.database import Database
from overnight.tasks.history.remote.backend import open_backend
from tests.machines import machines
from tests.standing import BIN, postgresql, process, standing_server, until

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.prefect, pytest.mark.timeout(900)]

LONG = 25
"""Generations of a night that is still under way when another worker has started and taken the next night."""


@dataclass(frozen=True)
class Head:
    """A machine whose worker runs nights, with nothing that another one has but the addresses.

    Attributes:
        command: Its worker.
    """

    folder: Path
    command: tuple[str | Path, ...]
    shared: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PREFECT_HOME": "prefect",
            "XDG_STATE_HOME": "state",
            "OVERNIGHT_CACHE": "cache",
            "OVERNIGHT_SLOTS": "slots",
        }
        return {**self.shared, **{name: str(self.folder / folder) for name, folder in own.items()}}

    def working(self) -> AbstractContextManager[Any]:
        self.folder.mkdir(exist_ok=True)
        return process(self.log, *self.command, **self.environment)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def is_of(self, process_id: int) -> bool:
        """Return whether a process is a child of this machine's worker, by its environment."""
        try:
            return f"OVERNIGHT_CACHE={self.folder}/cache\0" in Path(f"/proc/{process_id}/environ").read_text()
        except OSError:  # it has ended
            return False


@dataclass(frozen=True)
class Place:
    """Where the nights of the test are: the pool's server and the history.

    Attributes:
        shared: Environment variables of every machine that runs nights.
    """

    client: SyncPrefectClient
    bucket: str
    shared: dict[str, str]

    def schedule(self, problem: Path, name: str, generations: int, image: str) -> Any:
        """Schedule a run; return its deployment."""
        command = ["schedule", "add", str(problem), "--name", name, "--cron", "0 0 1 1 *", "--time-zone", "UTC"]
        command += ["--generations", str(generations), "--seed", "1", "--set", f"sandbox.image={image}"]
        command += ["--history", self.bucket]
        subprocess.run([BIN / "overnight", *command], env={**os.environ, **self.shared}, check=True)
        return self.client.read_deployment_by_name(f"night/{name}")

    def start(self, deployment: Any) -> None:
        """Have the next night of a schedule start now."""
        self.client.create_flow_run_from_deployment(deployment.id)

    def states(self, deployment: Any) -> list[str]:
        return sorted(run.state_name or "" for run in self._nights(deployment))

    def is_under_way(self, deployment: Any, head: Head) -> bool:
        """Return whether a night of a schedule is running on a machine."""
        found = [run for run in self._nights(deployment) if run.state_name == "Running" and run.infrastructure_pid]
        return any(head.is_of(int(str(run.infrastructure_pid).rpartition(":")[2])) for run in found)

    def _nights(self, deployment: Any) -> list[FlowRun]:
        only = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
        return [run for run in self.client.read_flow_runs(deployment_filter=only) if not run.auto_scheduled]

    def rows(self, query: str) -> list[dict[str, Any]]:
        backend = open_backend(self.bucket)
        backend.refresh()
        return Database(backend.root).rows(query)


@pytest.fixture
def place(bucket: str, tmp_path: Path) -> Iterator[Place]:
    cluster_folder = tmp_path / "cluster"
    cluster_folder.mkdir()
    with ExitStack() as stack:
        database = stack.enter_context(postgresql(tmp_path / "postgres.log"))
        server = stack.enter_context(standing_server(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=database))
        cluster = stack.enter_context(machines(cluster_folder))
        for name in ("first", "second"):
            cluster.join(name, 2)
        stack.enter_context(temporary_settings({PREFECT_API_URL: server}))
        client = stack.enter_context(get_client(sync_client=True))
        yield Place(client, bucket, {"PREFECT_API_URL": server, "OVERNIGHT_CLUSTER": cluster.address})


def test_two_workers_share_the_nights_of_a_pool_and_continue_each_other_s_runs(
    place: Place, slow_toy: Path, tmp_path: Path, sandbox_image: str
):
    long, short = (
        place.schedule(slow_toy, name, generations, sandbox_image)
        for name, generations in (("long", LONG), ("short", 3))
    )
    long_run, short_run = (str(found.parameters["run_id"]) for found in (long, short))
    limited = (BIN / "prefect", "worker", "start", "--pool", "overnight", "--type", "process", "--limit", "1")
    one = Head(tmp_path / "one", limited, place.shared)
    other = Head(tmp_path / "other", (BIN / "overnight", "serve"), place.shared)
    with one.working():
        place.start(long)
        until(lambda: place.is_under_way(long, one), 120, "the first night")
        with other.working():
            until(lambda: "running scheduled nights" in other.log.read_text(), 60, "the other worker")
            place.start(short)
            until(lambda: place.is_under_way(short, other), 120, "a night on the other machine")
            until(lambda: place.states(short) == ["Completed"], 180, "the other's night")
            assert place.states(long) == ["Running"], "the nights were under way at the same time"
            until(lambda: place.states(long) == ["Completed"], 180, "the first night's end")
    with other.working():
        place.start(long)
        until(lambda: place.is_under_way(long, other), 120, "the next night of the first run, on the other machine")
        until(lambda: place.states(long) == ["Completed"] * 2, 240, "its end")
    require_complete(place, long_run, nights=2, generations=2 * LONG)
    require_complete(place, short_run, nights=1, generations=3)


def require_complete(place: Place, run_id: str, *, nights: int, generations: int) -> None:
    """Require that a run has every night, generation and program, and that both machines evaluated some."""
    found = place.rows(f"SELECT night, stop_reason FROM nights WHERE run_id = '{run_id}' ORDER BY night")
    assert [(row["night"], row["stop_reason"]) for row in found] == [(n + 1, "generations") for n in range(nights)]
    found = place.rows(f"SELECT generation, state FROM generations WHERE run_id = '{run_id}' ORDER BY generation")
    assert [(row["generation"], row["state"]) for row in found] == [(n, "committed") for n in range(generations + 1)]
    (counts,) = place.rows(
        "SELECT count(*) AS rows, count(DISTINCT program_id) AS programs,"
        f" count(*) FILTER (outcome = 'sandbox_error') AS faults FROM programs WHERE run_id = '{run_id}'"
    )
    assert counts == {"rows": 1 + 6 * generations, "programs": 1 + 6 * generations, "faults": 0}
    found = place.rows(f"SELECT machine FROM machines WHERE run_id = '{run_id}' AND machine IS NOT NULL")
    assert {row["machine"] for row in found} == {"first", "second"}
