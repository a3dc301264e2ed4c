"""Finalists on inputs that the search has not seen: limits, and what counts against none of them."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from overnight.flows.night import final_evaluation
from overnight.flows.night.final_evaluation import scores_on
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.generation import RunRecord
from overnight.schemas.job import Job
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.program import Program
from overnight.tasks.evaluate.sandbox import MAX_RUNS
from overnight.testing.made import a_problem, a_run
from tests.in_process import InProcess

STARVED = Verdict(Outcome.SANDBOX_ERROR, error="the machine is too busy")
GOOD, WORSE = (Program(body, f"return {body}", (1.0,), 1.0) for body in ("9.5", "8.5"))


@pytest.fixture
def run() -> RunRecord:
    problem: Any = a_problem()
    problem.inputs["validation"] = problem.inputs["train"][:1]
    return a_run("toy", problem)


@pytest.mark.parametrize(("isolation", "factor"), [(None, 1), (True, 2)])
def test_isolated_runs_have_the_time_of_a_confirmation(
    run: RunRecord, in_process: InProcess, isolation: bool | None, factor: int
):
    scores_on(run, "validation", [GOOD], isolation=isolation)
    assert in_process.jobs[0].limits.wall_s == factor * run.problem.settings.limits.wall_s


def test_a_finalist_that_the_others_starved_is_evaluated_by_itself(run: RunRecord, in_process: InProcess):
    starved = iter([STARVED] * MAX_RUNS)

    def fault(job: Job, text: str) -> Verdict | None:
        return next(starved, None) if "9.5" in text else None

    in_process.fault = fault
    assert scores_on(run, "validation", [GOOD, WORSE]) == {GOOD.id: -0.5, WORSE.id: -1.5}


class HeldUp:
    """A sandbox all of whose slots others hold until it is closed."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def evaluate(self, source: object) -> Verdict:
        assert self._closed.wait(30)
        return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")

    def close(self) -> None:
        self._closed.set()


def test_an_evaluation_waits_for_no_one_beyond_its_limit(run: RunRecord, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(final_evaluation, "open_sandboxes", lambda *_, **__: contextlib.closing(HeldUp()))
    ends_by = datetime.now(UTC) + timedelta(seconds=0.05)
    with pytest.raises(SandboxUnavailable, match="the sandbox was closed"):
        scores_on(run, "validation", [GOOD, WORSE], ends_by=ends_by)


def test_a_refused_question_of_the_start_program_is_no_fault_of_the_sandbox_which_a_night_would_wait_for(
    run: RunRecord, in_process: InProcess
):
    in_process.fault = lambda job, text: None if "9.5" in text else QUESTION_REFUSED
    assert scores_on(run, "validation", [GOOD, WORSE]) == {GOOD.id: -0.5}


def test_without_inputs_there_are_no_scores_and_no_sandbox(run: RunRecord, in_process: InProcess):
    assert scores_on(run, "held_out", [GOOD]) == {}
    assert in_process.jobs == []
