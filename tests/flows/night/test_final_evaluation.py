"""Finalists on inputs that the search has not seen: limits, and what counts against none of them."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.night import final_evaluation
from overnight.flows.night.facts import remarks, score_rows
from overnight.flows.night.final_evaluation import judge_finalists, scores_on
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.generation import Finalist, RunRecord
from overnight.schemas.job import Job
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict
from overnight.schemas.program import Program
from overnight.schemas.settings import Known
from overnight.tasks.evaluate.sandbox import MAX_RUNS
from overnight.testing.made import a_problem, a_run
from tests.flows.night.shown import a_night
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


def test_of_equal_scores_the_program_that_none_beats_in_another_objective_comes_first():
    problem: Any = a_problem()
    settings = problem.settings.model_copy(update={"objectives": Objectives(metrics={"states": "minimize"})})
    problem = replace(problem, settings=settings, inputs={**problem.inputs, "validation": (), "held_out": ()})
    start, beaten, worst, leaner, other = (
        Program(name, f"return {score}", (score, part), score, {"states": states})
        for name, score, part, states in [
            ("start", -411.0, 0, 5.0),
            ("beaten", -99.0, 0, 99.0),
            ("worst", -99.0, 1, 100.0),
            ("leaner", -99.0, 0, 98.0),
            ("other", -100.0, 0, 9.0),
        ]
    )
    programs = {one.id: one for one in (start, beaten, worst, leaner, other)}
    opened: Any = SimpleNamespace(
        run=a_run("toy", problem), ask=None, state=SimpleNamespace(start=start, programs=programs)
    )
    assert [one.program for one in judge_finalists(opened)] == [leaner, worst, other, start]


def test_the_table_of_a_night_has_the_best_known_score_below_the_inputs_that_it_is_of():
    problem: Any = a_problem()
    for split, columns in {"train": ("2.75", "", ""), "held_out": ("", "", "2.75")}.items():
        known = Known.model_validate({"best": 2.75, "label": "them", "split": split})
        shown = a_night(3.0, problem=replace(problem, settings=problem.settings.model_copy(update={"known": known})))
        assert tuple(score_rows(shown)[-1].values())[1:4] == columns


def test_a_summary_says_with_care_that_a_known_score_is_passed():
    problem: Any = a_problem()
    known = Known(best=2.75, label="them")
    problem = replace(problem, settings=problem.settings.model_copy(update={"known": known}))
    alone = replace(problem, inputs={**problem.inputs, "validation": (), "held_out": ()})
    text = "the best program is better than the best known score that this problem names (2.75, them): check it"
    assert [one for one in remarks(a_night(3.0, problem=alone)) if text in one]
    for score, of_other_data in ((2.754, alone), (3.0, replace(alone, inputs={**alone.inputs, "held_out": (1,)}))):
        assert not [one for one in remarks(a_night(score, problem=of_other_data)) if "best known" in one]


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        ((3.0, None, None), "stays the best as it was found: what is left of it fails on the held-out inputs"),
        ((3.0, None, 1.0), "as it was found: what is left of it scores 1, not 2, on the held-out inputs"),
        ((3.0, None, 2.0), ""),
        ((2.5, None, None), ""),
    ],
)
def test_a_summary_says_why_the_best_program_stays_as_it_was_found(left: tuple[Any, ...], expected: str):
    night = a_night(3.0)
    pruned = replace(night.best, id="left", pruned_from=night.best.id)
    finalists = (Finalist(night.best, 3.0, None, 2.0), Finalist(pruned, *left))
    said = [one for one in remarks(replace(night, record=replace(night.record, finalists=finalists))) if "found" in one]
    assert [one.endswith(expected) for one in said] == ([True] if expected else [])


def test_a_summary_has_the_other_objectives_and_the_size_of_the_front():
    problem: Any = a_problem()
    settings = problem.settings.model_copy(update={"objectives": Objectives(metrics={"states": "minimize"})})
    night = a_night(3.0, problem=replace(problem, settings=settings))
    assert not [one for one in remarks(a_night(3.0)) if "none beats" in one]
    best, worse = (
        Program(name, f"return {score}", (score,), score, {"states": states})
        for name, score, states in [("best", 3.0, 98.0), ("worse", 2.0, 99.0)]
    )
    state: Any = SimpleNamespace(best=best, start=worse, failed=[], programs={"best": best, "worse": worse})
    text = "the best program has states 98; 1 program that none beats in everything: overnight sql"
    assert [one for one in remarks(replace(night, state=state)) if one.startswith(text)]
