"""Artifacts of a night: what they show, how often they are updated, and the registry of the places that show them."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from flows.formatting import cost, outcomes_text, score
from flows.night.progress import Progress
from schemas.drawings import NO_DRAWINGS, Drawings
from schemas.errors import EnvironmentFault
from schemas.generation import NightRecord, RunRecord
from schemas.night_view import ArtifactSink, LogLine, NightStart, NightView
from schemas.outcome import Outcome
from schemas.program import Program

MODULES = ["flows.prefect_artifacts"]
"""Modules of the sinks of every night; each has a function `open_sink`, which takes the id of the night's flow run."""

_INTERVAL_S = 20.0
"""Seconds between two updates, each of which takes some milliseconds."""

_BEST_PROGRAMS = 10
_CURVE_POINTS = 60


class NightArtifacts:
    """Artifacts of one night, shown by each of several sinks. Their errors are only noted.

    Args:
        sinks: The sinks.
        note: Function that takes an error message.
    """

    def __init__(self, sinks: Sequence[ArtifactSink], note: Callable[[str], None]) -> None:
        self._sinks = sinks
        self._note = note
        self._shown_at = float("-inf")

    def begin(self, night: NightStart) -> None:
        """Show that the night began."""
        for sink in self._sinks:
            with self._noting_errors():
                sink.begin(night)

    def update(self, view: Callable[[], NightView], *, now: bool = False) -> None:
        """Show the current state, at most every 20 s.

        Args:
            view: Function that returns the current state.
            now: Whether to update regardless of the last time.
        """
        if not now and time.monotonic() - self._shown_at < _INTERVAL_S:
            return
        self._shown_at = time.monotonic()
        current = view()
        for sink in self._sinks:
            with self._noting_errors():
                sink.show(current)

    def link_report(self, path: Path) -> None:
        """Show where the report is on this machine."""
        for sink in self._sinks:
            with self._noting_errors():
                sink.link_report(path)

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except EnvironmentFault as error:
            self._note(error.message)


def open_artifacts(flow_run_id: str, note: Callable[[str], None]) -> NightArtifacts:
    """Return the artifacts of a night, with a sink of each registered module.

    Args:
        flow_run_id: Id of the night's flow run.
        note: Function that takes an error message.
    """
    return NightArtifacts([import_module(module).open_sink(flow_run_id) for module in MODULES], note)


def generation_line(number: int, progress: Progress) -> str:
    """Return one line about a generation that was committed last."""
    is_new = " (new)" if progress.best_at == number else ""
    budget = progress.budget
    spent = cost(budget.night_usd, is_partly_unknown=budget.has_unknown_costs)
    return (
        f"generation {number}: best {score(progress.best)}{is_new}; {outcomes_text(progress.last_outcomes)}; "
        f"cost so far {spent}, {budget.tokens:,} tokens"
    )


def night_view(
    run: RunRecord,
    progress: Progress,
    programs: Mapping[str, Program],
    start: Program,
    best: Program,
    share: float,
    flag: str,
    drawings: Drawings = NO_DRAWINGS,
    night: NightRecord | None = None,
    log: Sequence[LogLine] = (),
) -> NightView:
    """Return the current state of a night.

    Args:
        run: Record of the run.
        progress: Counters of the night.
        programs: All scored programs by id.
        start: Start program.
        best: Best program of the run.
        share: Share of the night that is over, 0 to 1.
        flag: `--history` flag of commands that are shown.
        drawings: Pictures of programs.
        night: Row of the night, as far as it is known.
        log: Lines of its log.
    """
    problem = run.problem
    function_text = problem.specification.function_text
    return NightView(
        title=problem.settings.title or problem.name,
        score_name=problem.settings.score_name,
        share=share,
        generation=progress.generation,
        phase=progress.phase,
        candidates=progress.candidates,
        scored=progress.outcomes[Outcome.SCORED],
        cost_usd=progress.budget.night_usd,
        has_unknown_costs=progress.budget.has_unknown_costs,
        message=progress.message,
        start=start,
        start_text=function_text(start.body),
        best=best,
        best_text=function_text(best.body),
        best_programs=tuple(heapq.nlargest(_BEST_PROGRAMS, programs.values(), key=lambda program: program.score)),
        flag=flag,
        pictures=drawings.pictures,
        curve=tuple(progress.bests(_CURVE_POINTS)),
        known_best=problem.settings.known.best,
        known_label=problem.settings.known.label,
        stop_reason=night.stop_reason.value if night and night.stop_reason else "",
        finalists=night.finalists if night else (),
        log=tuple(log),
    )
