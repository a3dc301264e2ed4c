"""The panel of a night: what it shows while the first generation runs, and on terminals without block characters."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from overnight.flows.cli import live_view, printing
from overnight.flows.cli.live_view import awaited_of_people, in_flight, render
from overnight.flows.formatting import spark
from overnight.flows.night.progress import Progress
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import TUNER, Program
from overnight.schemas.settings import Known, Settings
from overnight.tasks.sample.budget import RequestsInFlight
from overnight.testing.made import a_judged

CRASHED = Verdict(Outcome.CRASHED, error="ZeroDivisionError")
SCORED = Verdict(Outcome.SCORED, (1.0,))


def judged(progress: Progress, generation: int, index: int, verdict: Verdict, model: str = "test/model") -> None:
    progress.judged(generation, a_judged("run", generation, index, scores=(1.0,), model=model).candidate, verdict)


def panel(
    progress: Progress,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str = "utf-8",
    until: datetime | None = None,
    **settings: Any,
) -> str:
    """Return what the panel of a night shows."""
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding), width=100, force_terminal=True)
    for module in (printing, live_view):
        monkeypatch.setattr(module, "err", lambda: console)
    problem = SimpleNamespace(name="toy", settings=Settings(**settings))
    run, search = SimpleNamespace(problem=problem), problem.settings.search
    session = SimpleNamespace(progress=progress, cluster=None, run=run, search=search)
    with console.capture() as captured:
        console.print(render(cast("Any", session), StopConditions(target=9.5, generations=3, until=until), 0))
    return captured.get()


def test_outcomes_count_up_before_the_generation_is_committed():
    progress = Progress(best=0.0)
    judged(progress, 1, 0, SCORED)
    judged(progress, 1, 1, CRASHED)
    judged(progress, 2, 0, SCORED)
    judged(progress, 1, 48, SCORED, model=TUNER)
    assert progress.outcomes_so_far() == {Outcome.SCORED: 2, Outcome.CRASHED: 1}, "the tuner's are no samples"
    judged(progress, 1, 1, SCORED)
    assert progress.outcomes_so_far() == {Outcome.SCORED: 3}, "a further attempt replaces a verdict"
    progress.committed(1, [Outcome.SCORED, Outcome.UNCONFIRMED], Program("best", "", (1.0,), 1.0))
    assert progress.outcomes_so_far() == {Outcome.SCORED: 2, Outcome.UNCONFIRMED: 1}
    progress.forget(2)
    assert progress.outcomes_so_far() == {Outcome.SCORED: 1, Outcome.UNCONFIRMED: 1}, "a generation was given up"


def test_the_panel_names_the_problem_and_what_its_best_is_compared_with(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(best=0.0)
    judged(progress, 1, 0, SCORED)
    with progress.requests.waiting():
        shown = panel(progress, monkeypatch, title="Packing [b]boxes", known=Known(best=12.5, label="FunSearch"))
    for words in ("Packing [b]boxes", "12.5  (FunSearch)", "9.5", "scored 1", "1 in flight, for 0 s", "▁▁▁▁"):
        assert words in shown
    assert "best known" not in panel(progress, monkeypatch)


def test_the_panel_shows_a_better_score_before_it_is_committed(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(best=0.0)
    judged(progress, 1, 0, Verdict(Outcome.SCORED, (-1.0, -2.0)))
    assert progress.best_claim is None, "it is not better"
    judged(progress, 1, 1, Verdict(Outcome.SCORED, (1.0, 3.0)))
    assert "; a program of the generation under way scores 2" in panel(progress, monkeypatch)
    progress.committed(1, [], Program("best", "", (2.0,), 2.0))
    assert "under way" not in panel(progress, monkeypatch)


def test_a_better_score_over_a_limit_is_no_claim_and_counts_as_such():
    progress = Progress(best=0.0, objectives=Objectives(limits={"cost": "<= 5"}))
    judged(progress, 1, 0, Verdict(Outcome.SCORED, (2.0,), metrics={"cost": (6.0,)}))
    judged(progress, 1, 1, Verdict(Outcome.SCORED, (1.0,), metrics={"cost": (5.0,)}))
    assert progress.best_claim == 1.0
    assert progress.outcomes_so_far() == {Outcome.OVER_LIMIT: 1, Outcome.SCORED: 1}


@pytest.mark.parametrize(
    ("verdicts", "phase", "awaited"),
    [
        (1, "sample and evaluate", "none in flight; evaluating 1 program for 1 min 05 s"),
        (2, "sample and evaluate", "none in flight; confirming or tuning programs"),
        (2, "select", "none in flight\n"),
    ],
)
def test_the_panel_says_what_is_awaited_once_all_models_have_answered(
    verdicts: int, phase: str, awaited: str, monkeypatch: pytest.MonkeyPatch
):
    progress = Progress(best=0.0, samples=2)
    progress.enter(phase, 1)
    progress.evaluations = lambda: [65.0] * (2 - verdicts)
    for index in range(verdicts):
        judged(progress, 1, index, SCORED)
    assert awaited in re.sub(" +\n", "\n", re.sub("\x1b.*?m", "", panel(progress, monkeypatch)))


def test_the_time_that_is_left_ends_with_what_the_night_still_does(monkeypatch: pytest.MonkeyPatch):
    now = datetime.now(UTC)
    assert "59 min" in panel(Progress(best=0.0), monkeypatch, until=now + timedelta(minutes=59, seconds=50))
    shown = panel(Progress(best=0.0), monkeypatch, until=now - timedelta(seconds=1))
    assert "finishing what is under way" in shown
    assert " left" not in shown


def test_the_curve_is_of_ascii_where_the_terminal_has_no_blocks(monkeypatch: pytest.MonkeyPatch):
    shown = panel(Progress(best=0.0), monkeypatch, "iso-8859-1")
    assert "____" in shown
    assert shown.isascii()


@pytest.mark.parametrize(
    ("encoding", "line"), [("utf-8", "▁▁▄█"), ("ascii", "__:#"), ("no-such-encoding", "__:#")], ids=str
)
def test_a_sparkline_rises_from_the_lowest_to_the_highest_value(encoding: str, line: str):
    assert spark([0, 0, 3, 7], 60, encoding) == line


def test_a_sparkline_of_more_values_than_fit_ends_with_the_last():
    assert spark(list(range(100)), 4) == "▁▃▆█"
    assert spark([5.0], 4) == "▁"


def test_the_curve_has_the_best_score_at_moments_of_the_night():
    progress = Progress(best=1.0, begin=time.monotonic() - 100)
    assert progress.bests(3) == [1.0, 1.0, 1.0]
    progress.committed(1, [], Program("best", "", (2.0,), 2.0))
    assert progress.bests(3) == [1.0, 1.0, 2.0]
    progress.begin_night(progress.budget.limits, 1)
    assert progress.bests(3)[-1] == 2.0


def test_requests_in_flight_are_counted_with_the_age_of_the_oldest(monkeypatch: pytest.MonkeyPatch):
    requests, now = RequestsInFlight(), 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert in_flight(requests) == "none in flight"
    with requests.waiting():
        now = 1030.0
        with requests.waiting():
            now = 1034.0
            assert in_flight(requests) == "2 in flight, the oldest for 34 s"
    assert requests.oldest_s() == 0.0


def test_lines_say_what_is_evaluated_where_nothing_else_is_said_for_long(monkeypatch: pytest.MonkeyPatch):
    lines = list[str]()
    progress, told = Progress(best=0.0), threading.Event()

    def hear(line: str) -> None:
        lines.append(line)
        told.set()

    monkeypatch.setattr(live_view, "say", hear)
    monkeypatch.setattr(live_view, "_QUIET_S", 0.0)
    progress.evaluations = lambda: [125.0, 3.0]
    with live_view._lines(cast("Any", SimpleNamespace(progress=progress, cluster=None))):
        assert told.wait(30)
    assert lines[0] == "evaluating 2 programs, the oldest for 2 min 05 s, waits for a slot included"


def test_requests_that_people_answer_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(best=0.0)
    with progress.requests.waiting("relay:my answers"), progress.requests.waiting("openai/a"):
        assert awaited_of_people(progress.requests) == "1 request to answer: overnight relay 'my answers'"
        assert "1 request to answer: overnight relay 'my answers'" in panel(progress, monkeypatch)
    assert awaited_of_people(progress.requests) == ""


def test_ctrl_c_says_for_whose_answers_the_night_waits():
    progress = Progress(best=0.0)
    with contextlib.ExitStack() as waiting:
        for model in ("relay:/answers", "openai/a", "relay:/answers"):
            waiting.enter_context(progress.requests.waiting(model))
        progress.interrupt_by_hand()
    waits = "waiting for answers: 1 of openai/a, 2 of relay:/answers"
    assert progress.message == f"finishing this generation, {waits}; Ctrl-C again stops at once"


def test_sessions_of_agents_are_shown_with_what_they_have_done(monkeypatch: pytest.MonkeyPatch):
    progress = Progress(best=0.0)
    progress.enter("sampling and evaluating")
    progress.sessions = lambda: ["pi 1: 3 turns, 1 program scored, best 2", "pi 2: starting for 4 s"]
    said = panel(progress, monkeypatch)
    assert "pi 1: 3 turns, 1 program scored, best 2" in said
    assert "pi 2: starting for 4 s" in said
    assert "confirming or tuning" not in said
