"""`overnight cluster` and `overnight cluster worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.flows.cluster.certificates import create_certificates
from overnight.flows.cluster.choice import VARIABLE
from tests.flows.conftest import Call
from tests.machines import WITHOUT_ENGINE, machines

OVERNIGHT = [sys.executable, "-m", "overnight.flows.cli.main"]


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates of a cluster, which the environment names; who does not answer is waited for briefly."""
    monkeypatch.setattr("overnight.tasks.evaluate.cluster.dask_client._CONNECT_S", 1.0)
    folder = tmp_path / "certificates"
    create_certificates(folder)
    monkeypatch.setenv("OVERNIGHT_CLUSTER_CERTIFICATES", str(folder))


def test_init_makes_certificates_once(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "certificates"
    monkeypatch.setenv("OVERNIGHT_CLUSTER_CERTIFICATES", str(folder))
    code, said = call("cluster", "init")
    assert code == 0, said
    assert str(folder) in said
    assert {path.name for path in folder.iterdir()} == {"member.pem", "member.key"}
    code, said = call("cluster", "init")
    assert code == 2, said


@pytest.mark.docker
def test_show_lists_the_machines_and_what_they_have(call: Call, tmp_path: Path):
    with machines(tmp_path) as cluster:
        cluster.join("one", 3)
        (machine,) = json.loads(call("cluster", "show", cluster.address, "--format", "json")[1].splitlines()[0])
        code, said = call("cluster", "show", cluster.address)
    assert code == 0, said
    assert (machine["name"], machine["slots"], machine["problem"]) == ("one", 3, "")
    (row,) = (line.split() for line in said.splitlines() if line.split()[:1] == ["one"])
    assert row[1] == "3"
    assert "Docker" in row


@pytest.mark.docker
def test_the_doctor_checks_each_machine(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with machines(tmp_path) as cluster:
        code, said = call("doctor", "--cluster", cluster.address)
        assert code == 3, said
        assert f"overnight cluster worker {cluster.address}" in " ".join(said.split())
        cluster.join("one", 3)
        monkeypatch.setenv(VARIABLE, cluster.address)
        code, said = call("doctor", "--cluster")
        assert code == 0, said
        assert "machine one" in said
        assert "3 slots" in said
        cluster.join("ill", program=WITHOUT_ENGINE)
        code, said = call("doctor")
    assert code == 3, said
    assert "machine ill" in said
    assert "Look on ill: overnight doctor" in " ".join(said.split())


@pytest.mark.usefixtures("certificates")
def test_the_doctor_of_a_cluster_that_does_not_answer_fails_and_says_how_to_start_one(
    call: Call, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "")
    code, said = call("doctor", "--cluster", "tls://127.0.0.1:1")
    assert code == 3, said
    assert "overnight cluster start" in " ".join(said.split())
    monkeypatch.setenv(VARIABLE, "")
    code, said = call("doctor", "--cluster")
    assert code == 3, said
    assert "none is named" in " ".join(said.split())


@pytest.mark.usefixtures("certificates")
def test_nobody_answers_at_the_address(call: Call):
    code, said = call("cluster", "show", "tls://127.0.0.1:1")
    assert code == 3, said
    assert "no cluster answers at tls://127.0.0.1:1" in said


@pytest.mark.usefixtures("certificates")
def test_a_machine_without_an_engine_does_not_join(call: Call, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    code, said = call("cluster", "worker", "tls://127.0.0.1:1")
    assert code == 3, said
    assert "no Docker engine answers" in said


def test_a_machine_joins_other_machines_with_encryption_only(call: Call):
    code, said = call("cluster", "worker", "tcp://head:8786")
    assert code == 2, said
    assert "tls://head:8786" in said


@pytest.mark.usefixtures("certificates")
def test_a_scheduler_runs_until_it_is_told_to_stop():
    process = subprocess.Popen(
        [*OVERNIGHT, "cluster", "start", "--listen", "tls://127.0.0.1:0"], stderr=subprocess.PIPE, env={**os.environ}
    )
    assert process.stderr is not None
    said = process.stderr.readline().decode()
    assert "machines join with: overnight cluster worker tls://127.0.0.1:" in said, said
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
