"""Test the contract of the sandbox over a machine of a cluster, and what only a cluster has to keep."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate.cluster import dask_client
from overnight.tasks.evaluate.cluster.cluster_pool import ClusterPool
from overnight.tasks.evaluate.cluster.dask_client import Connection, MachineLost
from overnight.tasks.evaluate.cluster.messages import Request, job_text
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from overnight.tasks.evaluate.registry import create_backend
from overnight.testing.programs import bombs, candidates, intruders, liars
from overnight.testing.programs.candidates import HONEST, HONEST_SCORES, Case, returns
from tests.accidents import wait_until
from tests.engine import PrivateEngine, started_engine
from tests.machines import Machines, answer, machines

pytestmark = pytest.mark.docker

CASES = [*candidates.CASES, *intruders.CASES, *bombs.CASES, *liars.CASES][::16]
"""Every sixteenth program of the contract: on a machine, they run in the same containers as here."""

JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=1, cpu_s=8, memory_mib=96, output_kib=16), honest=HONEST)

CHAOS = "cluster-chaos"
"""Run of the tests in which something is killed."""

SLOW = "import time\n" + returns("[time.sleep(0.1), n * 2.5][1]")
"""Takes a fifth of a second on both inputs."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with machines(tmp_path_factory.mktemp("cluster")) as started:
        started.join("one")
        yield started


@pytest.fixture
def several(tmp_path: Path) -> Iterator[Machines]:
    with machines(tmp_path) as started:
        yield started


@contextlib.contextmanager
def opened(
    cluster: Machines, image: str, *, notes: list[str] | None = None, run: str = "cluster-test"
) -> Iterator[ClusterPool]:
    with contextlib.closing(create_backend("docker")) as backend:
        request = Request(
            job=job_text(JOB),
            image=backend.image_id(image),
            backend="docker",
            runtime=None,
            labels={"overnight.run": run},
            slots=1,
            is_fresh=False,
        )
    with contextlib.closing(cluster.connect()) as connection:
        pool = ClusterPool(JOB, request, connection, ClusterSlots(), (notes if notes is not None else []).append)
        with contextlib.closing(pool):
            yield pool


@pytest.fixture(scope="module")
def sandbox(cluster: Machines, sandbox_image: str) -> Iterator[ClusterPool]:
    with opened(cluster, sandbox_image) as pool:
        yield pool


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_program_on_a_machine_is_judged_as_it_is_here(sandbox: ClusterPool, case: Case):
    verdict = sandbox.evaluate(case.source)
    assert verdict.outcome in (case.outcome, case.or_outcome), verdict
    assert re.search(case.says, verdict.error), verdict.error
    assert case.score is None or verdict.scores == (case.score, case.score), verdict
    assert verdict.machine == ("" if "characters" in verdict.error else "one")
    assert sandbox.evaluate(HONEST).scores == HONEST_SCORES


def judged_through(pool: ClusterPool, machine: str, accident: Callable[[], None]) -> list[Verdict]:
    """Evaluate programs until a machine has judged some, then 24 more, while something happens to the cluster."""
    happened = threading.Event()

    def evaluate_until_it_happened() -> list[Verdict]:
        verdicts = []
        while not happened.is_set():
            verdicts.append(pool.evaluate(f"{SLOW}\n# {len(verdicts)}"))
        return verdicts + [pool.evaluate(f"{SLOW}\n# {number} after it") for number in range(3)]

    with ThreadPoolExecutor(8) as threads:
        begun = [threads.submit(evaluate_until_it_happened) for _ in range(8)]
        try:
            wait_until(lambda: pool.programs[machine] > 2)
            accident()
        finally:
            happened.set()
        return [verdict for part in begun for verdict in part.result()]


def test_programs_of_a_machine_that_is_killed_are_evaluated_elsewhere(several: Machines, sandbox_image: str):
    several.join("first", 2)
    several.join("second", 2)
    with opened(several, sandbox_image, run=CHAOS) as pool:
        verdicts = judged_through(pool, "first", lambda: several.kill("first"))
    assert {verdict.scores for verdict in verdicts} == {HONEST_SCORES}
    assert {verdict.machine for verdict in verdicts} == {"first", "second"}
    assert_no_containers()


def assert_no_containers() -> None:
    wait_until(lambda: not containers_of(CHAOS), timeout_s=20)


def containers_of(run: str) -> list[str]:
    with contextlib.closing(docker.from_env()) as client:
        found = client.containers.list(all=True, filters={"label": f"overnight.run={run}"}, ignore_removed=True)
        return [str(container.id) for container in found]


@contextlib.contextmanager
def head_of(cluster: Machines, image: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has opened a pool, and waits."""
    code = (
        "import sys, time; sys.path[:0] = sys.argv[3].split(':'); "
        "from tests.contract.test_cluster_sandbox import CHAOS, HONEST, opened\n"
        "from types import SimpleNamespace\n"
        "from overnight.flows.cluster.choice import address_and_certificates\n"
        "from overnight.tasks.evaluate.cluster.dask_client import Connection\n"
        "there = SimpleNamespace(connect=lambda: Connection(*address_and_certificates(sys.argv[1])))\n"
        "with opened(there, sys.argv[2], run=CHAOS) as pool:\n"
        "    assert pool.evaluate(HONEST).is_scored\n"
        "    print(flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, cluster.address, image, ":".join(sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as head:
        try:
            assert head.stdout is not None
            assert head.stdout.readline(), "it ended before it had evaluated a program"
            yield head
        finally:
            head.kill()


@pytest.mark.slow
def test_a_restart_of_the_scheduler_loses_no_program(several: Machines, sandbox_image: str):
    several.join("first", 2)
    with opened(several, sandbox_image, run=CHAOS) as pool:
        verdicts = judged_through(pool, "first", several.restart_scheduler)
    assert {verdict.scores for verdict in verdicts} == {HONEST_SCORES}
    assert_no_containers()


def give_up(connection: Connection) -> None:
    """Close Dask's client as it does itself when no scheduler answers for ten seconds."""
    client: Any = connection._client
    client.sync(client._close)


@pytest.mark.slow
def test_the_head_connects_again_after_dask_has_given_up(several: Machines):
    several.join("first")
    with contextlib.closing(several.connect()) as connection:
        (machine,), broken = connection.machines, connection._client
        give_up(connection)
        wait_until(lambda: connection._client is not broken and set(connection.machines) == {machine})
        assert connection.submit(machine, answer).answer(30)


def test_tasks_are_lost_once_dask_has_given_up(cluster: Machines, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dask_client, "_POLL_S", 3600)  # it does not look, and so does not connect again
    with contextlib.closing(cluster.connect()) as connection:
        (machine,) = connection.machines
        before = connection.submit(machine, answer)
        wait_until(before._done.is_set)
        give_up(connection)
        with pytest.raises(MachineLost, match="the task is cancelled"):
            before.answer(30)
        with pytest.raises(MachineLost, match="Client is closed"):
            connection.submit(machine, answer).answer(30)


def test_containers_of_a_head_that_is_killed_do_not_outlive_it(cluster: Machines, sandbox_image: str):
    with head_of(cluster, sandbox_image) as head:
        containers = containers_of(CHAOS)
        assert containers
        with contextlib.closing(cluster.connect()):
            head.kill()
            wait_until(lambda: not containers_of(CHAOS), timeout_s=30)
    assert cluster.names() == {"one"}, "it has not left the cluster, which would end them, too"


def not_there() -> bytes:
    """A task of a module that no machine has."""
    return b""


def test_a_task_that_a_machine_does_not_have_is_lost_at_once(cluster: Machines):
    with contextlib.closing(cluster.connect()) as connection:
        (machine,) = connection.machines
        with pytest.raises(MachineLost, match="the task is error"):
            connection.submit(machine, not_there).answer(60)


@pytest.mark.slow
def test_a_machine_gets_the_image_that_it_lacks(several: Machines, sandbox_image: str, bare_engine: PrivateEngine):
    several.join("bare", DOCKER_HOST=bare_engine.host)
    notes: list[str] = []
    with opened(several, sandbox_image, notes=notes) as pool:
        assert pool.evaluate(HONEST).scores == HONEST_SCORES
    assert notes == ["sending the image to bare, once"]


@pytest.mark.slow
def test_a_machine_whose_engine_dies_hands_its_programs_back(
    several: Machines, sandbox_image: str, bare_engine: PrivateEngine
):
    bare_engine.load(sandbox_image)
    several.join("dying", 2, DOCKER_HOST=bare_engine.host)
    several.join("sound", 2)
    notes: list[str] = []
    with opened(several, sandbox_image, notes=notes) as pool:
        verdicts = judged_through(pool, "dying", lambda: bare_engine.end(signal.SIGKILL))
    assert {verdict.scores for verdict in verdicts} == {HONEST_SCORES}
    assert any("machine dying is set aside" in note for note in notes), notes


@pytest.fixture
def bare_engine() -> Iterator[PrivateEngine]:
    """A private engine without any image."""
    with started_engine() as engine:
        yield engine


def test_dask_is_imported_for_a_cluster_only():
    code = (
        "import sys, overnight.flows.night.open_run, overnight.flows.cluster.open_cluster\n"
        "import overnight.flows.cli.cluster; "
        "import overnight.tasks.evaluate.cluster.cluster_pool; "
        "sys.exit('distributed' in sys.modules or 'dask' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
