"""Contract of sandbox backends: what a pool needs of one, and that programs are judged by what they do."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pytest

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import OvernightError, SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.job import Call, Job
from overnight.schemas.limits_settings import Limits
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.delivery import FrameBuffer
from overnight.tasks.evaluate.pool import SandboxPool, open_fresh_pool, open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import Channel, RunnerConfig, SandboxBackend, runner_config
from overnight.testing.programs import bombs, candidates, intruders, liars
from overnight.testing.programs.candidates import HONEST, HONEST_SCORES, Case

JOB = Job("evaluate", (Call((3,)),), Limits(wall_s=20, memory_mib=96))
PROGRAM = "def evaluate(n):\n    return n * 2.5\n"
LONG_S = 60.0

JUDGED = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=1, cpu_s=8, memory_mib=96, output_kib=16))
"""Job of the programs in `programs`."""

CASES = [*candidates.CASES, *intruders.CASES, *bombs.CASES, *liars.CASES]


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


class SandboxContract:
    """What a pool needs of a backend; its fixture `kind`, of a module's scope, is the name of the backend.

    Attributes:
        cases: Programs that it has to judge.
    """

    cases: ClassVar[Sequence[Case]] = CASES

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Judge each of the programs."""
        if "case" in metafunc.fixturenames:
            metafunc.parametrize("case", self.cases, ids=str)

    @pytest.fixture
    def backend(self, kind: str) -> Iterator[SandboxBackend]:
        made = create_backend(kind, runners=1)
        yield made
        made.close()

    @pytest.fixture(scope="class")
    @classmethod
    def is_confined(cls, kind: str) -> bool:
        """Whether candidates may be harmful: they are users of their own, apart from this machine."""
        return create_backend(kind).own_users

    @pytest.fixture(scope="class")
    @classmethod
    def sandbox(cls, kind: str, sandbox_image: str) -> Iterator[SandboxPool]:
        with open_pool(JUDGED, backend=kind, image=sandbox_image, slots=1) as pool:
            yield pool

    @pytest.fixture
    def config(self, sandbox_image: str) -> RunnerConfig:
        return runner_config(JOB, sandbox_image, {"overnight.run": "contract"}, None)

    def test_it_describes_itself_and_its_image_in_the_same_words_every_time(
        self, backend: SandboxBackend, sandbox_image: str
    ):
        assert backend.describe()
        assert "\n" not in backend.describe()
        assert backend.image_id(sandbox_image) == backend.image_id(sandbox_image) != ""

    def test_what_it_can_start_passes_its_check_and_an_unknown_runtime_does_not(
        self, backend: SandboxBackend, sandbox_image: str
    ):
        backend.require(sandbox_image, None)
        with pytest.raises(SandboxUnavailable, match="no-such-runtime") as refused:
            backend.require(sandbox_image, "no-such-runtime")
        assert refused.value.remedy

    def test_a_started_runner_reports_its_python_over_the_channel(self, backend: SandboxBackend, config: RunnerConfig):
        channel = backend.start(config)
        assert begin(channel, own_users=backend.own_users)["python"] >= "3.11"
        channel.close()

    def test_a_silent_runner_is_a_timeout(self, backend: SandboxBackend, config: RunnerConfig):
        channel = backend.start(config)
        with pytest.raises(TimeoutError):
            channel.receive(timeout_s=0.05)
        channel.close()

    def test_a_runner_that_ends_is_the_end_of_its_output_with_a_reason(
        self, backend: SandboxBackend, config: RunnerConfig
    ):
        since = time.time()
        channel = backend.start(config)
        channel.send(b"\0\0\0\2{}", timeout_s=LONG_S)  # no list of modules
        read_to_the_end(channel)
        death = channel.death(since_s=since)
        assert death.reason
        assert not death.out_of_memory
        channel.close()

    def test_closing_a_channel_ends_a_wait_in_another_thread(self, backend: SandboxBackend, config: RunnerConfig):
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

    def test_closing_a_backend_ends_its_runners_and_starts_no_more(self, backend: SandboxBackend, config: RunnerConfig):
        channel = backend.start(config)
        begin(channel, own_users=backend.own_users)
        backend.close()
        backend.close()
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            read_to_the_end(channel)  # raises TimeoutError if it still runs
        with pytest.raises(SandboxUnavailable):
            backend.start(config)
        channel.close()

    def test_leftovers_of_others_are_removed_and_its_own_runners_are_not(
        self, backend: SandboxBackend, config: RunnerConfig
    ):
        channel = backend.start(config)
        assert backend.remove_leftovers() >= 0
        assert begin(channel, own_users=backend.own_users)
        channel.close()

    def test_a_problem_without_additions_needs_no_other_image(self, backend: SandboxBackend, sandbox_image: str):
        assert backend.prepare(sandbox_image, Dependencies(), (), print) == sandbox_image

    def test_a_problem_s_files_are_read_by_its_programs_or_refused_with_a_remedy(
        self, kind: str, backend: SandboxBackend, sandbox_image: str
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

    def test_a_fresh_pool_runs_each_program_in_a_runner_of_its_own(self, kind: str, sandbox_image: str):
        pool = open_fresh_pool(JOB, backend=kind, image=sandbox_image, slots=1)
        assert [pool.evaluate(PROGRAM).scores for _ in range(2)] == [(7.5,)] * 2
        pool.close()

    def test_a_program_is_judged_by_its_own_behaviour_and_does_not_affect_the_next_one(
        self, sandbox: SandboxPool, is_confined: bool, case: Case
    ):
        if not is_confined and not case.harmless:
            pytest.skip("only in a container")
        verdict = sandbox.evaluate(case.source)
        assert verdict.outcome in (case.outcome, case.or_outcome), verdict
        assert re.search(case.says, verdict.error), verdict.error
        assert bool(verdict.scores) == verdict.is_scored != bool(verdict.error)
        assert len(verdict.error) <= 2000
        verdict.error.encode()
        assert case.score is None or verdict.scores == (case.score, case.score), verdict
        after = sandbox.evaluate(HONEST)
        assert after.scores == HONEST_SCORES, after
        assert sandbox.starts == 1, "the runner died"
