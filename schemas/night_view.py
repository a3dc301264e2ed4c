"""Content of the artifacts of a night, and the protocol of their sinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from schemas.generation import Finalist
from schemas.program import Program


@dataclass(frozen=True)
class NightStart:
    """Beginning of a night.

    Attributes:
        run_id: Id of the run.
        problem: Name of the problem.
        number: Number of the night, from 1.
    """

    run_id: str
    problem: str
    number: int


@dataclass(frozen=True)
class LogLine:
    """One line about a night, and when it was written."""

    at: datetime
    text: str


@dataclass(frozen=True)
class NightView:
    """State of a night at one moment. Texts come from models and programs, and are not escaped.

    Attributes:
        title: Title of the problem.
        score_name: Name of the score.
        share: Share of the night that is over by the stop condition nearest to its limit, 0 to 1.
        generation: Number of the current generation.
        phase: Current activity, in a word or two.
        candidates: Number of candidates in generations that this night has committed.
        scored: Number of those that have a score.
        cost_usd: Cost of the night, as far as prices are known.
        has_unknown_costs: Whether some are not.
        message: Last message to the person who watches; empty if there is none.
        start: Start program.
        start_text: Its evolved part.
        best: Best program of the run.
        best_text: Its evolved part.
        best_programs: Programs with the highest scores, best first.
        flag: `--history` flag of commands that are shown; empty for the default history.
        pictures: Sanitised SVG pictures of programs, by program id, once the night is over.
        curve: Best score at moments evenly spaced from the night's start to now.
        known_best: Best published score; `None` if the problem has none.
        known_label: Its holder.
        stop_reason: Why the night ended; empty while it is under way.
        finalists: Programs of the final evaluation, the best one first; none before it.
        log: Lines of the night's log, in the order of time; the last ones of a long night.
    """

    title: str
    score_name: str
    share: float
    generation: int
    phase: str
    candidates: int
    scored: int
    cost_usd: float
    message: str
    start: Program
    start_text: str
    best: Program
    best_text: str
    best_programs: tuple[Program, ...]
    flag: str
    pictures: Mapping[str, str] = field(default_factory=dict)
    has_unknown_costs: bool = False
    curve: tuple[float, ...] = ()
    known_best: float | None = None
    known_label: str = ""
    stop_reason: str = ""
    finalists: tuple[Finalist, ...] = ()
    log: tuple[LogLine, ...] = ()


class ArtifactSink(Protocol):
    """Place that shows the progress, the best programs and the report of one night. `begin` is called first.

    Every method may raise:
        EnvironmentFault: If the place does not answer or refuses. The message is shown, and the night goes on.
    """

    def begin(self, night: NightStart) -> None:
        """Show that the night began."""
        ...

    def show(self, view: NightView) -> None:
        """Show the current state in place of the last one; the night waits for it."""
        ...

    def link_report(self, path: Path) -> None:
        """Show where the report of the run is on this machine."""
        ...
