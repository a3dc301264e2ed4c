"""Nights that evaluate on a cluster, one on this machine, and the tuner's evaluations there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from overnight.flows.cluster.certificates import create_certificates, member_files
from overnight.flows.cluster.choice import VARIABLE, choose_cluster, parse_address
from overnight.flows.cluster.open_cluster import Cluster, open_cluster
from overnight.flows.night.tuning import RunTrials
from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.evaluate.cluster.dask_client import Connection, MachineLost
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.history.database import Database
from overnight.tasks.history.differences import compare
from overnight.tasks.problems.loading.load import load_problem
from tests.accidents import wait_until
from tests.flows.conftest import Night
from tests.machines import FORGER, LIAR, Machines, raise_hostile, return_hostile

BOTH = {
    "validation": [2],
    "held_out": [3],
    "sampling": {"concurrency": 8},
    "sandbox": {"backend": "process"},
}
"""Settings of a night with other inputs, and with as many samples in flight on a cluster as on one machine."""


@pytest.mark.docker
def test_its_history_is_that_of_a_local_night(
    night: Night, cluster: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cluster.join("first", 2)
    cluster.join("second", 2)
    there = night(3, history=tmp_path / "there", settings=BOTH)
    monkeypatch.delenv(VARIABLE)
    here = night(3, history=tmp_path / "here", settings=BOTH)
    found = compare(here, there, range(4))
    assert (found.differing_generations, found.differing_programs) == (0, 0), found
    rows = Database(tmp_path / "there").rows(
        "SELECT DISTINCT machine FROM programs WHERE wall_s > 0 AND generation > 0"
    )
    assert {"first", "second", None} > {row["machine"] for row in rows} > set()
    rows = Database(tmp_path / "here").rows("SELECT DISTINCT machine FROM programs")
    assert [row["machine"] for row in rows] == [None]


@pytest.mark.docker
def test_a_lie_about_a_score_is_found_by_confirmation(night: Night, cluster: Machines, tmp_path: Path):
    cluster.join("honest", 2)
    cluster.join("liar", 2, program=LIAR)
    claimed = []
    for _ in range(10):  # nights, until the liar has opened the job and evaluated
        night(3, settings={"sandbox": {"backend": "process", "confirm": "best"}})
        rows = Database(tmp_path).rows("SELECT outcome, machine, score, error FROM programs WHERE generation > 0")
        claimed = [row for row in rows if row["machine"] == "liar" and row["outcome"] in ("scored", "unconfirmed")]
        if claimed:
            break
    assert any(row["outcome"] == "unconfirmed" for row in claimed), claimed
    (best,) = Database(tmp_path).rows("SELECT max(best_score) AS highest FROM generations")
    assert best["highest"] < 50, "no score to which 100 was added is a best"


@pytest.mark.docker
def test_the_head_unpickles_nothing_that_a_machine_sends(cluster: Machines, tmp_path: Path):
    cluster.join("hostile", program=FORGER)
    unpickled = tmp_path / "unpickled"
    unpickled.mkdir()
    with contextlib.closing(cluster.connect()) as connection:
        (machine,) = connection.machines
        for task in (raise_hostile, return_hostile):
            with pytest.raises(MachineLost):
                connection.submit(machine, task, str(unpickled)).answer(30)
            assert connection.machines, "the connection goes on"
    assert str(os.getpid()) not in {path.name for path in unpickled.iterdir()}


@pytest.mark.docker
def test_a_member_of_another_cluster_is_refused(tmp_path: Path):
    ours, others = tmp_path / "ours", tmp_path / "others"
    create_certificates(ours)
    create_certificates(others)
    environment = {**os.environ, "OVERNIGHT_CLUSTER_CERTIFICATES": str(ours)}
    command = [sys.executable, "-P", "-m", "overnight.flows.cluster.process", "scheduler", "tls://127.0.0.1:0"]
    scheduler = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().decode().strip()
        Connection(address, member_files(ours)).close()
        with pytest.raises(EnvironmentFault, match="no cluster answers"):
            Connection(address, member_files(others))
    finally:
        scheduler.send_signal(signal.SIGTERM)
        scheduler.wait(20)


@pytest.mark.parametrize("text", ["head:8786", "tls://head:8786"])
def test_an_address_is_encrypted_whether_it_says_so_or_not(text: str):
    assert parse_address(text) == "tls://head:8786"


@pytest.mark.parametrize(
    "text",
    ["", "head", "head:port", "http://head:8786", "://head:1", "tcp://head:8786", "tcp://127.0.0.1:8786"],
)
def test_what_is_no_address_or_not_encrypted_is_refused(text: str):
    with pytest.raises(UsageError, match=r"expected (the|an encrypted) address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["local:", "local:0", "local:x", "local:1000"])
def test_a_local_cluster_has_1_to_64_machines(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match="from 1 to 64"):
        choose_cluster(text)


# The tuner's evaluations


LONG_S = 120


@pytest.mark.docker
def test_machines_evaluate_variants_on_training_inputs_and_the_head_on_validation_inputs(
    toy: Path, cluster: Machines, sandbox_image: str
):
    cluster.join("first", 2)
    settings = {"inputs": [1, 2, 3], "validation": [4], "sandbox": {"image": sandbox_image, "slots": 1}}
    run: Any = SimpleNamespace(problem=load_problem(toy, settings), seed=1, run_id="tests")
    skeleton = run.problem.specification
    with (
        open_cluster(lambda _: None) as opened,
        open_sandboxes(run.problem, "train", seed=1, run_id="tests") as sandbox,
        ThreadPoolExecutor(2) as threads,
    ):
        trials = RunTrials(run, Evaluator(sandbox, skeleton, set, lambda *_: None, threads), opened)
        first = trials.submit(skeleton.start_body, "first").result(LONG_S)
        validation = trials.submit(skeleton.start_body, "validation").result(LONG_S)
        trials.close()
    assert (first.machine, len(first.scores)) == ("first", 1)
    assert (validation.machine, len(validation.scores)) == ("", 1)


# A cluster on this machine is open to its night alone


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


@pytest.mark.docker
def test_who_has_no_certificate_of_the_night_is_refused(local: Cluster):
    from distributed import Client

    (worker,) = local.connection.machines
    scheduler = local.connection._client.scheduler
    assert scheduler is not None
    address = str(scheduler.address)
    assert {worker[:16], address[:16]} == {"tls://127.0.0.1:"}
    with pytest.raises(OSError, match=r"Timed out|in <TCP \(closed\)"):
        Client(address.replace("tls", "tcp"), timeout=2)


@pytest.mark.docker
def test_its_processes_have_no_keys(local: Cluster):
    children = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    processes = [one for one in children if "overnight.flows.cluster.process" in one.cmdline()]
    assert len(processes) == 2
    for process in processes:
        assert not {*KEYS} & process.environ().keys()
        assert "secret" not in process.environ().values()
