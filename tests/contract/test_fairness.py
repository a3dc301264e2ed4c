"""Test that neither other programs on the same processor nor a pause of the container time a program out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.backends.process import ProcessBackend, ProcessRunner
from overnight.tasks.evaluate.engine_images import RUN_LABEL
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.evaluate.sandbox import RunnerConfig, runner_config
from overnight.testing.programs.candidates import body

BURNERS = 5
"""Number of processes that share a processor with a candidate, which gets a sixth of it."""

BURN = "import time\nprint(flush=True)\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"

TEXT = """
import funsearch
@funsearch.run
def evaluate(n):
    return f(n)
@funsearch.evolve
def f(n):
    import os, time
"""

COMPUTES = "begun = time.process_time()\nwhile time.process_time() - begun < 0.15: pass\nreturn n"
SLEEPS = "time.sleep(60)"
FIGHTS = """
for _ in range(12):
    if os.fork() == 0:
        begun = time.process_time()
        while time.process_time() - begun < 0.02: pass
        os._exit(0)
time.sleep(60)
"""

HIDES = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end: pass
if os.fork() == 0:
    while True:
        for _ in range(9):
            if os.fork() == 0:
                burn(0.03)
                os._exit(0)
        time.sleep(0.03)
while True:
    print(".", flush=True)
    burn(0.005)
"""
"""Competes with itself by processes that end between two samples, and prints, so that fewer samples are taken."""


def program(lines: str) -> str:
    return TEXT + "".join(f"    {line}\n" for line in lines.strip("\n").splitlines())


JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=0.5, cpu_s=4, memory_mib=128))
KINDS = {"inline": JOB, "isolated": replace(JOB, isolation=Isolation(("f",), program("return n")))}
ONE_SLOW = [pytest.param(kind, marks=pytest.mark.slow if kind == "isolated" else ()) for kind in KINDS]
"""One supervisor measures both kinds."""


class OneProcessor(ProcessBackend):
    """A backend of plain processes that share one processor with other processes."""

    def __init__(self) -> None:
        super().__init__(runners=1)
        self.processor = max(os.sched_getaffinity(0))

    def start(self, config: RunnerConfig) -> ProcessRunner:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.processor})
        try:
            return super().start(config)
        finally:
            os.sched_setaffinity(0, before)

    def burn(self) -> subprocess.Popen[bytes]:
        """Start a process that computes for a minute, unless it is killed earlier."""
        # In its own session, because Linux shares a processor between sessions first.
        process = subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE, start_new_session=True)
        os.sched_setaffinity(process.pid, {self.processor})
        return process

    @contextlib.contextmanager
    def crowded(self) -> Iterator[None]:
        """Let other processes compute on the processor until the block ends; they do when it begins."""
        burners = [self.burn() for _ in range(BURNERS)]
        try:
            for burner in burners:
                assert burner.stdout is not None
                assert burner.stdout.readline()
            yield
        finally:
            for burner in burners:
                burner.kill()
                burner.communicate()


def judged(job: Job, source: str, *, crowded: bool = True) -> tuple[Verdict, float]:
    """Return the verdict on a program, beside others on its processor or not, and the seconds until it came."""
    place = OneProcessor()
    with (
        SandboxPool(job, place, runner_config(job, "", None, None), slots=1) as pool,
        place.crowded() if crowded else contextlib.nullcontext(),
    ):
        began = time.monotonic()
        return pool.evaluate(source), time.monotonic() - began


@pytest.mark.parametrize("kind", ONE_SLOW)
def test_a_program_that_computes_little_is_scored_on_a_crowded_processor(kind: str):
    verdict, seconds = judged(KINDS[kind], program(COMPUTES))
    assert verdict.scores == (3.0, 4.0), verdict
    assert seconds > 1.0, "it took more than both inputs' limits, or the test would show nothing"


@pytest.mark.parametrize("kind", ONE_SLOW)
def test_a_program_that_sleeps_times_out_at_its_limit(kind: str):
    verdict, _ = judged(KINDS[kind], program(SLEEPS))
    assert verdict.outcome is Outcome.TIMED_OUT, verdict
    assert "took more than 0.5 s of wall clock on input 1 of 2" in verdict.error


def test_a_program_gains_no_time_by_competing_with_itself():
    verdict, _ = judged(JOB, program(FIGHTS), crowded=False)
    assert verdict.outcome is Outcome.TIMED_OUT, verdict
    assert verdict.wall_s < 15, "the arithmetic is in tests/evaluate/test_starvation.py"


@pytest.mark.slow
@pytest.mark.docker
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_gains_no_time_by_competing_with_itself_between_samples(sandbox_image: str, kind: str):
    limits = Limits(wall_s=2, cpu_s=30, memory_mib=128, output_kib=64)
    job = replace(KINDS[kind], inputs=JOB.inputs[:1], limits=limits)
    run, place = uuid.uuid4().hex, OneProcessor()
    with open_pool(job, image=sandbox_image, slots=1, labels={RUN_LABEL: run}) as pool:
        client = docker.from_env()
        (container,) = client.containers.list(filters={"label": f"{RUN_LABEL}={run}"})
        container.update(cpuset_cpus=str(place.processor))
        client.close()
        verdict = pool.evaluate(program(HIDES))
    assert verdict.outcome is Outcome.TIMED_OUT, verdict
    assert verdict.cpu_s < limits.wall_s + 1.0, "the processor time that it got, loading included"


def test_a_program_that_computes_for_ever_gets_no_more_processor_time_than_its_limit():
    verdict, _ = judged(replace(JOB, inputs=JOB.inputs[:1]), program("while True: pass"))
    assert verdict.outcome is Outcome.TIMED_OUT, verdict
    assert verdict.cpu_s < 2 * JOB.limits.wall_s + 0.5, "loading has a limit of its own"
    assert "not counting" in verdict.error


COMMAND = """
import subprocess, sys, time
for _ in range(2):
    code = "import time\\nbegun = time.process_time()\\nwhile time.process_time() - begun < 0.2: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
print('{"score": 7}')
"""


def test_all_processes_of_a_command_are_counted():
    job = Job(
        "",
        (Call((3,)),),
        Limits(wall_s=2, cpu_s=4, memory_mib=128, scratch_mib=4),
        command=Command("program.py", ("python3", "{program}"), "score"),
    )
    verdict, seconds = judged(job, COMMAND)
    assert verdict.scores == (7.0,), verdict
    assert seconds > job.limits.wall_s, "or the test would show nothing"


def freeze(container: Container) -> None:
    """Pause a container; on a busy machine the kernel may refuse that for a moment."""
    for _ in range(9):
        with contextlib.suppress(APIError):
            container.pause()
            return
    container.pause()


@pytest.mark.docker
@pytest.mark.parametrize("kind", ONE_SLOW)
def test_a_pause_of_the_container_does_not_count(sandbox_image: str, kind: str):
    run, job = uuid.uuid4().hex, replace(KINDS[kind], limits=JOB.limits.model_copy(update={"wall_s": 2}))
    with open_pool(job, image=sandbox_image, slots=1, labels={RUN_LABEL: run}) as pool:
        client = docker.from_env()
        (container,) = client.containers.list(filters={"label": f"{RUN_LABEL}={run}"})

        def pause() -> None:
            time.sleep(0.5)
            freeze(container)
            time.sleep(4)
            container.unpause()

        pausing = threading.Thread(target=pause)
        pausing.start()
        verdict = pool.evaluate(program("if n == 3: time.sleep(1.5)\nreturn n"))
        pausing.join()
        client.close()
    assert verdict.scores == (3.0, 4.0), verdict
    assert verdict.wall_s > 4
    assert pool.starts == 1, "it was not run again"


def test_a_program_that_gets_no_processor_for_too_long_is_run_again_and_then_not_judged(
    monkeypatch: pytest.MonkeyPatch,
):
    """Beyond the maximum extension the verdict is `sandbox_error`; this test makes the maximum tiny."""
    from overnight.tasks.evaluate import delivery

    source = delivery._source
    monkeypatch.setattr(
        delivery,
        "_source",
        lambda name: source(name).replace(
            "_MAX_EXTENSION_FACTOR, _MAX_EXTENSION_S = 9, 60.0", "_MAX_EXTENSION_FACTOR, _MAX_EXTENSION_S = 0, 0.2"
        ),
    )
    delivery.modules_frame.cache_clear()
    try:
        place = OneProcessor()
        with SandboxPool(JOB, place, RunnerConfig("", 128), slots=1) as pool, place.crowded():
            verdict = pool.evaluate(body("while True: pass"))
        assert verdict.outcome is Outcome.SANDBOX_ERROR, verdict
        assert "the machine is too busy" in verdict.error
    finally:
        delivery.modules_frame.cache_clear()
