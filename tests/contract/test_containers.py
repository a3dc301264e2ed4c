"""Test what happens when containers, their engine or their owner die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import docker
import pytest

from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.tasks.evaluate import confinement, engine_images
from overnight.tasks.evaluate.backends.docker import DockerBackend
from overnight.tasks.evaluate.confinement import owner
from overnight.tasks.evaluate.engine_images import RUN_LABEL
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.evaluate.sandbox import RunnerConfig
from overnight.testing.programs.candidates import HONEST_SCORES, body
from tests.accidents import wait_until

pytestmark = pytest.mark.docker

JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=20, memory_mib=96))


@pytest.fixture
def run() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def containers(run: str) -> Iterator[Callable[[], list[Any]]]:
    """Yield a function that returns the existing containers of the run."""
    client = docker.from_env()
    label: dict[str, str | list[str] | bool] = {"label": f"{RUN_LABEL}={run}"}
    yield lambda: client.containers.list(all=True, filters=label, ignore_removed=True)
    for container in client.containers.list(all=True, filters=label, ignore_removed=True):
        container.remove(force=True)
    client.close()


def runs_a_candidate(container: Any) -> bool:
    """Return whether a process of a candidate, which is a user of its own, runs beside the runner, which is root."""
    return any(user != "0" for user, _ in container.top(ps_args="-eo uid,pid")["Processes"])


def kill_when_busy(containers: Callable[[], list[Any]], times: int) -> threading.Thread:
    """Kill the single container `times` times, each time once a new one runs the candidate beside the runner."""

    def kill() -> None:
        killed: set[str] = set()
        for _ in range(times):
            wait_until(lambda: any(c.id not in killed and c.status == "running" for c in containers()), timeout_s=20)
            victim = next(c for c in containers() if c.id not in killed)
            wait_until(partial(runs_a_candidate, victim), timeout_s=20)
            victim.kill()
            killed.add(victim.id)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_candidate_is_run_again_after_one_lost_container(sandbox_image: str, run: str, containers):
    with open_pool(JOB, image=sandbox_image, slots=1, labels={RUN_LABEL: run}) as pool:
        killer = kill_when_busy(containers, 1)
        verdict = pool.evaluate(body("import time\ntime.sleep(0.8)\nreturn n * 2.5"))
        killer.join()
        assert verdict.scores == HONEST_SCORES, verdict
        assert pool.starts == 2


def test_every_candidate_gets_one_verdict_while_containers_die(sandbox_image: str, run: str, containers):
    with (
        open_pool(JOB, image=sandbox_image, slots=2, labels={RUN_LABEL: run}) as pool,
        ThreadPoolExecutor(6) as threads,
    ):
        source = "import time\ndef evaluate(n):\n    time.sleep(0.02)\n    return n + {}\n"
        futures = [threads.submit(pool.evaluate, source.format(i)) for i in range(60)]
        for _ in range(2):
            time.sleep(0.4)
            # The newest is listed first; never kill the one that was just started for a candidate that lost its
            # container.
            containers()[-1].kill()
        for i, future in enumerate(futures):
            assert future.result().scores == (3.0 + i, 4.0 + i)
    assert containers() == []


def test_closing_leaves_no_container(sandbox_image: str, run: str, containers):
    pool = open_pool(JOB, image=sandbox_image, slots=2, labels={RUN_LABEL: run})
    assert len(containers()) == 2
    began = time.monotonic()
    pool.close()
    assert containers() == []
    assert time.monotonic() - began < 20


def test_closing_a_container_closes_the_response_that_the_sdk_keeps(sandbox_image: str, run: str):
    """Else Python 3.13 prints an error for each container when it deletes the response."""
    with closing(DockerBackend(runners=1)) as client:
        container = client.start(RunnerConfig(sandbox_image, 96, {RUN_LABEL: run}))
        response = container._stream._response
        container.close()
        assert response.raw.closed


def test_a_container_is_confined_as_designed(sandbox_image: str, run: str, containers):
    with open_pool(JOB, image=sandbox_image, slots=1, labels={RUN_LABEL: run}):
        (container,) = containers()
        container.reload()
        _, interfaces = container.exec_run(["cat", "/proc/net/dev"])
    assert [line.split(":")[0].strip() for line in interfaces.decode().splitlines()[2:]] == ["lo"]
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"], config["User"]) == (True, True, False, "0:0")
    assert (host["NetworkMode"], host["IpcMode"], host["ReadonlyRootfs"], host["Privileged"]) == (
        "none",
        "none",
        True,
        False,
    )
    assert (host["CapDrop"], sorted(c.removeprefix("CAP_") for c in host["CapAdd"])) == (
        ["ALL"],
        ["KILL", "SETGID", "SETUID"],
    )
    assert host["Memory"] == host["MemorySwap"] == (96 + 64) * 2**20
    assert host["PidsLimit"] == 64
    assert host["AutoRemove"]
    assert not host["Binds"]
    assert not container.attrs["Mounts"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert not any("seccomp" in option for option in host["SecurityOpt"]), "the engine's own filter stays"


def test_containers_are_removed_after_their_owner_is_killed(sandbox_image: str, run: str, containers):
    script = f"""
from overnight.schemas.job import *
from overnight.tasks.evaluate.pool import open_pool
job = Job("evaluate", (Call((3,)),), Limits(wall_s=600, memory_mib=96))
pool = open_pool(job, image={sandbox_image!r}, slots=1, labels={{"overnight.run": {run!r}}})
print("started", flush=True)
pool.evaluate("def evaluate(n):\\n    while True: pass")
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"started\n"
    time.sleep(0.5)
    assert len(containers()) == 1
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not containers(), timeout_s=8)


def test_only_containers_of_a_dead_owner_are_swept(
    sandbox_image: str, run: str, containers, monkeypatch: pytest.MonkeyPatch
):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    live = owner()
    setup = RunnerConfig(image=sandbox_image, memory_mib=64, labels={RUN_LABEL: run})
    docker_engine = DockerBackend(runners=1)
    try:
        host, namespace, *_ = live.split()
        monkeypatch.setattr(confinement, "owner", lambda: f"{host} {namespace} {dead.pid} 1")
        left = docker_engine.start(setup)
        monkeypatch.setattr(confinement, "owner", lambda: live)
        mine = docker_engine.start(setup)
        monkeypatch.setattr(confinement, "owner", lambda: f"{host} pid:[1] {dead.pid} 1")
        unknown = docker_engine.start(setup)
        docker_engine.remove_leftovers()  # another night on this machine may have done it first
        assert len(containers()) == 2
        left.close()
        mine.close()
        unknown.close()
    finally:
        docker_engine.close()


def test_a_container_that_examines_an_image_is_swept_once_its_owner_is_dead(
    sandbox_image: str, monkeypatch: pytest.MonkeyPatch
):
    # It dies once the container was examined: whoever else starts a pool on this machine sweeps, too.
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, namespace, *_ = owner().split()
    alive, gone = owner(), f"{host} {namespace} {other.pid} {confinement._start_time(other.pid)}"
    with closing(docker.from_env()) as client, closing(DockerBackend(runners=1)) as docker_engine:

        def left_by(label: str) -> list[Any]:
            wanted: dict[str, str | list[str] | bool] = {"label": [RUN_LABEL, f"{confinement.OWNER_LABEL}={label}"]}
            return client.containers.list(all=True, filters=wanted, ignore_removed=True)

        with monkeypatch.context() as killed:
            killed.setattr("docker.models.containers.Container.remove", lambda *_, **__: None)
            for label in (alive, gone):
                killed.setattr(engine_images, "owner", lambda label=label: label)
                assert docker_engine.run_python(sandbox_image, "print(1)") == ("1\n", "")
        assert len(left_by(gone)) == 1
        other.communicate(b"\n")
        docker_engine.remove_leftovers()
        (mine,) = left_by(alive)
        mine.remove(force=True)
        assert left_by(gone) == []


def test_a_container_that_was_created_but_never_started_is_removed_with_its_pool(
    sandbox_image: str, run: str, containers
):
    with open_pool(JOB, image=sandbox_image, slots=1, labels={RUN_LABEL: run}):
        (started,) = containers()
        started.client.containers.create(sandbox_image, ["true"], labels=started.labels)
        assert len(containers()) == 2
    assert containers() == []


def test_nothing_is_writable_under_a_runtime_that_creates_writable_directories(
    sandbox_image: str, run: str, containers
):
    source = body(
        "import os\nopen = 0\nfor place in ('/tmp', '/var/tmp', '/run'):\n    try: os.mkdir(place + '/x')\n"
        "    except OSError: pass\n    else: open += 1\nreturn open"
    )
    with open_pool(JOB, image=sandbox_image, slots=1, labels={RUN_LABEL: run}, runtime="runc") as pool:
        (container,) = containers()
        container.reload()
        assert pool.evaluate(source).scores == (0, 0)
    places = container.attrs["HostConfig"]["Tmpfs"]
    assert set(places) == {"/tmp", "/var/tmp", "/run"}, "gVisor has a /tmp of its own where there is none"
    assert all("ro" in options.split(",") for options in places.values())
