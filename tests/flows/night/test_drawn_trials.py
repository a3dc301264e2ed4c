"""Trials of agents' programs on drawn inputs: in a thread, which nothing waits for that is to be stopped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.flows.night.drawn_trials import DrawnTrials
from overnight.schemas.errors import SandboxUnavailable, SpecificationError
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.problems.loading.load import load_problem
from tests.in_process import InProcess, InProcessSandbox

PROBLEM = """# /// script
# [tool.overnight]
# inputs = [1, 2]
# ///
import funsearch
@funsearch.run
def evaluate(n): return f(n)
@funsearch.inputs
def fresh(seed):
    assert seed < 30
    return seed
@funsearch.evolve
def f(n):
    return 1.0
"""
BODY = "return n / 2"
LONG_S = 60.0


@pytest.fixture
def trials(tmp_path: Path, in_process: InProcess) -> Iterator[DrawnTrials]:
    path = tmp_path / "drawing.py"
    path.write_text(PROBLEM)
    problem = load_problem(path, {})
    run: Any = SimpleNamespace(problem=problem, run_id="r", seed=1)
    with ThreadPoolExecutor(1) as threads:
        evaluator = Evaluator(cast("Any", None), problem.specification, set, lambda *_: None, threads)
        trials = DrawnTrials(run, evaluator)
        yield trials
        trials.close()


class Blocked:
    """A draw that does not end before it is let."""

    def __init__(self, in_process: InProcess) -> None:
        self.begun, self.let = threading.Event(), threading.Event()
        self.verdict: Verdict | None = None
        in_process.fault = self._wait

    def _wait(self, job: Job, _: str) -> Verdict | None:
        if not job.draws:
            return None
        self.begun.set()
        assert self.let.wait(LONG_S)
        return self.verdict


def test_nobody_is_kept_waiting_while_inputs_are_drawn(trials: DrawnTrials, in_process: InProcess):
    draw = Blocked(in_process)
    first, second = trials.submit(BODY), trials.submit(BODY)
    assert draw.begun.wait(LONG_S)
    assert not first.done()
    assert second.cancel(), "a session that is stopped waits no longer"
    draw.let.set()
    assert len(first.result(LONG_S).scores) == 20
    assert trials.submit(BODY).result(LONG_S).is_scored
    assert [job.draws for job in in_process.jobs] == [True, False], "inputs are drawn once"


def test_a_generator_that_fails_is_not_asked_again(trials: DrawnTrials, in_process: InProcess):
    in_process.fault = lambda job, _: Verdict(Outcome.CRASHED, error="ValueError: no") if job.draws else None
    for _ in range(2):
        with pytest.raises(SpecificationError, match="draws no input for the seed 0"):
            trials.submit(BODY).result(LONG_S)
    assert len(in_process.jobs) == 1


def test_an_engine_that_fails_is_asked_again(trials: DrawnTrials, in_process: InProcess):
    in_process.fault = lambda *_: Verdict(Outcome.SANDBOX_ERROR, error="gone")
    with pytest.raises(SandboxUnavailable):
        trials.submit(BODY).result(LONG_S)
    in_process.fault = lambda *_: None
    assert trials.submit(BODY).result(LONG_S).is_scored


def test_a_generator_that_is_slow_is_given_up(trials: DrawnTrials, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overnight.flows.start.generated_inputs._TOTAL_S", -1.0)
    with pytest.raises(SpecificationError, match="no new input was drawn in -1 s"):
        trials.submit(BODY).result(LONG_S)


def test_closing_ends_a_draw_and_leaves_no_sandbox(
    trials: DrawnTrials, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
):
    draw = Blocked(in_process)
    draw.verdict = Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
    monkeypatch.setattr(InProcessSandbox, "close", lambda _: draw.let.set())
    under_way, waiting = trials.submit(BODY), trials.submit(BODY)
    assert draw.begun.wait(LONG_S)
    trials.close()
    assert under_way.exception(0) is not None
    assert waiting.cancelled()
    assert len(in_process.jobs) == 1, "no sandbox is started any more"
    assert trials.submit(BODY).cancelled()


def test_closing_while_the_sandbox_starts_removes_it(
    trials: DrawnTrials, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
):
    draw, closed = Blocked(in_process), list[Job]()
    monkeypatch.setattr(InProcessSandbox, "close", lambda self: closed.append(self.job))
    under_way = trials.submit(BODY)
    assert draw.begun.wait(LONG_S)
    closing = threading.Thread(target=trials.close)
    closing.start()
    draw.let.set()
    closing.join(LONG_S)
    assert under_way.done()
    assert {id(job) for job in in_process.jobs} <= {id(job) for job in closed}
