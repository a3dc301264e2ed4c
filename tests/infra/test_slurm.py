"""The Slurm script: its lines are executed, with a stand-in for `srun` that starts the step on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli.main import run
from tests.accidents import wait_until
from tests.machines import Machines, machines

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "infra/slurm/workers.sbatch"

SRUN = """#!/usr/bin/env bash
# srun on a node of one task: its own options are written down, the rest is the step.
printf '%s\\n' "$@" > "$SRUN_ARGUMENTS"
while [[ ${1:-} == --* ]]; do shift; done
SLURM_PROCID=0 SLURM_NODEID=0 SLURMD_NODENAME=node-1 exec "$@"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path) as started:
        yield started


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """Environment of a job on its first node, with `srun` and this environment's `overnight` on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "srun").write_text(SRUN)
    (programs / "srun").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    own = {"SRUN_ARGUMENTS": str(tmp_path / "srun"), "OVERNIGHT_SLOTS": str(tmp_path / "slots")}
    return {**os.environ, **slurm, **own, "PATH": path}


@pytest.mark.docker
def test_the_job_s_worker_joins_the_cluster_and_leaves_it_when_the_job_ends(
    cluster: Machines, node: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    log = tmp_path / "job.log"
    with log.open("wb") as output:
        job = subprocess.Popen(["bash", SCRIPT, cluster.address], env=node, stdout=output, stderr=output)
    try:
        wait_until(lambda: len(cluster.names()) == 1, log.read_text)
        assert run(["cluster", "show", cluster.address]) == 0
        said = capsys.readouterr().out
        (name,) = cluster.names()
        (row,) = (line.split() for line in said.splitlines() if line.split()[:1] == [name])
        assert int(row[1]) == len(os.sched_getaffinity(0)), "as many slots as it may use processors"
        job.send_signal(signal.SIGTERM)  # as scancel, and Slurm at a job's time limit
        assert job.wait(30) == 0, log.read_text()
        wait_until(lambda: not cluster.names())
    finally:
        job.kill()
        job.wait()
    assert (tmp_path / "srun").read_text().splitlines() == [
        "--kill-on-bad-exit=0", "overnight", "worker", cluster.address,
    ]  # fmt: skip


def test_the_job_needs_an_address():
    done = subprocess.run(["bash", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "expected the address of the cluster" in done.stderr
