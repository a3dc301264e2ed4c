"""A night as it is shown, without one that runs."""

from __future__ import annotations

from typing import Any

from overnight.flows.night.facts import ShownNight
from overnight.flows.night.progress import Progress
from overnight.flows.night.search_state import SearchState
from overnight.schemas.generation import NightRecord, RunHistory
from overnight.schemas.problem import Problem
from overnight.schemas.program import Program
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.made import NOW, TOY, a_run


def a_night(
    best: float, phase: str = "sampling", message: str = "", problem: Problem | None = None, **more: Any
) -> ShownNight:
    """Return a night of the toy problem whose best program returns a number."""
    run = a_run("toy-run", problem or load_problem(TOY))
    programs = [Program("aaaaaaaaaaaa", "    return 0.0", (1.0,), 1.0), program(best)]
    state = SearchState(run, RunHistory({one.id: one for one in programs}, (), frozenset()))
    progress = Progress(best=best, phase=phase, message=message)
    record = NightRecord(3, NOW, 1.0, best, programs[1].id)
    return ShownNight(run, state, progress, record, flag=" --history there", **more)


def program(score: float) -> Program:
    name = f"{score:g}".replace(".", "f").rjust(12, "b")
    return Program(name, f"    return {score}", (score,), score)
