"""Finalists on inputs that the search has not seen: limits, and what counts against none of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.night.final_evaluation import scores_on
from flows.night.search import Night
from flows.start import sandboxes
from schemas.bundle import Source
from schemas.errors import Outage, SandboxUnavailable
from schemas.generation import RunRecord
from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from schemas.program import Program
from tests.history.made import a_problem, a_run

STARVED = Verdict(Outcome.SANDBOX_ERROR, error="the machine is too busy")
GOOD, WORSE = (Program(body, f"return {body}", (1.0,), 1.0) for body in ("9.5", "8.5"))


@dataclass
class Sandbox:
    """Sandbox that starves the good program a number of times, and scores all others."""

    starved: int = 0
    jobs: list[Job] = field(default_factory=list)

    @contextlib.contextmanager
    def opened(self, job: Job, **_: object) -> Iterator[Sandbox]:
        self.jobs.append(job)
        yield self

    def evaluate(self, source: Source) -> Verdict:
        if "9.5" in str(source) and self.starved:
            self.starved -= 1
            return STARVED
        return Verdict(Outcome.SCORED, (2.0,))


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    made = Sandbox()
    monkeypatch.setattr(sandboxes, "open_pool", made.opened)
    return made


@pytest.fixture
def run() -> RunRecord:
    problem: Any = a_problem()
    problem.inputs["validation"] = problem.inputs["train"][:1]
    return a_run("toy", problem)


@pytest.mark.parametrize(("isolation", "factor"), [(None, 1), (True, 2)])
def test_isolated_runs_have_the_time_of_a_confirmation(
    run: RunRecord, sandbox: Sandbox, isolation: bool | None, factor: int
):
    scores_on(run, "validation", [GOOD], isolation=isolation)
    assert sandbox.jobs[0].limits.wall_s == factor * run.problem.settings.limits.wall_s


def test_a_finalist_that_the_others_starved_is_evaluated_by_itself(run: RunRecord, sandbox: Sandbox):
    sandbox.starved = 2
    assert scores_on(run, "validation", [GOOD, WORSE]) == {GOOD.id: 2.0, WORSE.id: 2.0}


def test_without_inputs_there_are_no_scores_and_no_sandbox(run: RunRecord, sandbox: Sandbox):
    assert scores_on(run, "held_out", [GOOD]) == {}
    assert sandbox.jobs == []


def test_an_undecided_final_names_the_command_that_holds_it_again(monkeypatch: pytest.MonkeyPatch):
    def out_of_order(_: object) -> None:
        raise Outage("the engine is gone")

    monkeypatch.setattr("flows.night.night.judge_finalists", out_of_order)
    progress = SimpleNamespace(enter=lambda _: None, interrupted=True)
    opened = SimpleNamespace(progress=progress, run=SimpleNamespace(run_id="toy-1"))
    night = SimpleNamespace(run=opened, _flag=" --history there", _is_past_the_deadline=lambda: False)
    with pytest.raises(SandboxUnavailable) as caught:
        Night._finalists(cast("Night", night), cast("Any", None))
    assert caught.value.remedy == "`overnight resume toy-1 --generations 1 --history there` holds it again."
