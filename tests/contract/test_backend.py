"""Test the contract of every sandbox backend: what a pool needs of it, below the judging of programs.

`test_sandbox.py` and `test_split.py` judge programs over the same backends.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import OvernightError, SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.job import Call, Job, Limits
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.delivery import FrameBuffer
from overnight.tasks.evaluate.pool import open_fresh_pool, open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import Channel, RunnerConfig, SandboxBackend, runner_config

JOB = Job("evaluate", (Call((3,)),), Limits(wall_s=20, memory_mib=96))
PROGRAM = "def evaluate(n):\n    return n * 2.5\n"
LONG_S = 60.0


@pytest.fixture
def backend(kind: str) -> Iterator[SandboxBackend]:
    made = create_backend(kind, runners=1)
    yield made
    made.close()


@pytest.fixture
def config(sandbox_image: str) -> RunnerConfig:
    return runner_config(JOB, sandbox_image, {"overnight.run": "contract"}, None)


def begin(channel: Channel, *, own_users: bool) -> dict[str, str]:
    """Set a runner up for the job, and return what it reports: versions by name."""
    channel.send(delivery.modules_frame() + delivery.job_frame(JOB, own_users=own_users), timeout_s=LONG_S)
    frames = FrameBuffer()
    while (frame := frames.take()) is None:
        piece = channel.receive(timeout_s=LONG_S)
        assert piece, channel.death(since_s=0.0)
        frames.feed(piece)
    return json.loads(frame)


def read_to_the_end(channel: Channel) -> None:
    while channel.receive(timeout_s=LONG_S):
        pass


def test_it_describes_itself_and_its_image_in_the_same_words_every_time(backend: SandboxBackend, sandbox_image: str):
    assert backend.describe()
    assert "\n" not in backend.describe()
    assert backend.image_id(sandbox_image) == backend.image_id(sandbox_image) != ""


def test_what_it_can_start_passes_its_check_and_an_unknown_runtime_does_not(
    backend: SandboxBackend, sandbox_image: str
):
    backend.require(sandbox_image, None)
    with pytest.raises(SandboxUnavailable, match="no-such-runtime") as refused:
        backend.require(sandbox_image, "no-such-runtime")
    assert refused.value.remedy


def test_a_started_runner_reports_its_python_over_the_channel(backend: SandboxBackend, config: RunnerConfig):
    channel = backend.start(config)
    assert begin(channel, own_users=backend.own_users)["python"] >= "3.11"
    channel.close()


def test_a_silent_runner_is_a_timeout(backend: SandboxBackend, config: RunnerConfig):
    channel = backend.start(config)
    with pytest.raises(TimeoutError):
        channel.receive(timeout_s=0.05)
    channel.close()


def test_a_runner_that_ends_is_the_end_of_its_output_with_a_reason(backend: SandboxBackend, config: RunnerConfig):
    since = time.time()
    channel = backend.start(config)
    channel.send(b"\0\0\0\2{}", timeout_s=LONG_S)  # no list of modules
    read_to_the_end(channel)
    death = channel.death(since_s=since)
    assert death.reason
    assert not death.out_of_memory
    channel.close()


def test_closing_a_channel_ends_a_wait_in_another_thread(backend: SandboxBackend, config: RunnerConfig):
    channel = backend.start(config)
    begin(channel, own_users=backend.own_users)
    ended = threading.Event()

    def wait() -> None:
        with contextlib.suppress(OSError):
            read_to_the_end(channel)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    channel.close()
    channel.close()
    assert ended.wait(LONG_S)


def test_closing_a_backend_ends_its_runners_and_starts_no_more(backend: SandboxBackend, config: RunnerConfig):
    channel = backend.start(config)
    begin(channel, own_users=backend.own_users)
    backend.close()
    backend.close()
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        read_to_the_end(channel)  # raises TimeoutError if it still runs
    with pytest.raises(SandboxUnavailable):
        backend.start(config)
    channel.close()


def test_leftovers_of_others_are_removed_and_its_own_runners_are_not(backend: SandboxBackend, config: RunnerConfig):
    channel = backend.start(config)
    assert backend.remove_leftovers() >= 0
    assert begin(channel, own_users=backend.own_users)
    channel.close()


def test_a_problem_without_additions_needs_no_other_image(backend: SandboxBackend, sandbox_image: str):
    assert backend.prepare(sandbox_image, Dependencies(), (), print) == sandbox_image


def test_a_problem_s_files_are_read_by_its_programs_or_refused_with_a_remedy(
    kind: str, backend: SandboxBackend, sandbox_image: str
):
    files = (File("data/number.txt", b"42"),)
    refusal, image = None, ""
    try:
        image = backend.prepare(sandbox_image, Dependencies(), files, print)
    except OvernightError as error:
        refusal = error
    if refusal is not None:
        assert refusal.remedy
        return
    with open_pool(JOB, backend=kind, image=image, slots=1) as pool:
        verdict = pool.evaluate("def evaluate(n):\n    return float(open('data/number.txt').read())\n")
    assert verdict.scores == (42.0,), verdict


def test_a_fresh_pool_runs_each_program_in_a_runner_of_its_own(kind: str, sandbox_image: str):
    pool = open_fresh_pool(JOB, backend=kind, image=sandbox_image, slots=1)
    assert [pool.evaluate(PROGRAM).scores for _ in range(2)] == [(7.5,)] * 2
    pool.close()
