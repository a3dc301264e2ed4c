"""A cluster on this machine is open to its night alone."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from overnight.flows.cluster.choice import VARIABLE
from overnight.flows.cluster.open_cluster import Cluster, open_cluster
from tests.accidents import wait_until

pytestmark = pytest.mark.docker

KEYS = ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "DOCKER_AUTH_CONFIG", "OVERNIGHT_NOTIFY", "PREFECT_API_KEY")


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setenv(VARIABLE, "local:1")
    for name in KEYS:
        monkeypatch.setenv(name, "secret")
    with open_cluster(lambda _: None) as cluster:
        assert cluster is not None
        wait_until(lambda: bool(cluster.connection.machines))
        yield cluster


def test_who_has_no_certificate_of_the_night_is_refused(local: Cluster):
    from distributed import Client

    (worker,) = local.connection.machines
    scheduler = local.connection._client.scheduler
    assert scheduler is not None
    address = str(scheduler.address)
    assert {worker[:16], address[:16]} == {"tls://127.0.0.1:"}
    with pytest.raises(OSError, match=r"Timed out|in <TCP \(closed\)"):
        Client(address.replace("tls", "tcp"), timeout=2)


def test_its_processes_have_no_keys(local: Cluster):
    children = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    processes = [one for one in children if "overnight.flows.cluster.process" in one.cmdline()]
    assert len(processes) == 2
    for process in processes:
        assert not {*KEYS} & process.environ().keys()
        assert "secret" not in process.environ().values()
