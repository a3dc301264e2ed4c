"""View of a night at one moment, which its artifacts in Prefect show."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from overnight.flows.formatting import cost, outcomes_text, printable, score
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.progress import Progress
from overnight.schemas.generation import Finalist, GenerationRecord, NightRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Program
from overnight.schemas.report_data import Drawings

_BEST_PROGRAMS = 10
_CURVE_POINTS = 60


@dataclass(frozen=True)
class LogLine:
    """One line about a night, and when it was written."""

    at: datetime
    text: str


@dataclass(frozen=True)
class NightView:
    """State of a night at one moment. Texts come from models and programs, and are not escaped.

    Attributes:
        share: Share of the night that is over by the stop condition nearest to its limit, 0 to 1.
        candidates: Number of candidates in generations that this night has committed.
        scored: Number of those that have a score.
        cost_usd: Cost of the night, as far as prices are known.
        has_unknown_costs: Whether some are not.
        start_text: Its evolved part.
        best_text: Its evolved part.
        best_programs: Programs with the highest scores, best first.
        flag: `--history` flag of commands that are shown; empty for the default history.
        pictures: Sanitised SVG pictures of programs, by program id, once the night is over.
        curve: Best score at moments evenly spaced from the night's start to now.
        known_best: Best published score; `None` if the problem has none.
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


def generation_line(number: int, progress: Progress) -> str:
    """Return one line about a generation that was committed last."""
    is_new = " (new)" if progress.best_at == number else ""
    budget = progress.budget
    spent = cost(budget.night_usd, is_partly_unknown=budget.has_unknown_costs)
    return (
        f"generation {number}: best {score(progress.best)}{is_new}; {outcomes_text(progress.last_outcomes)}; "
        f"cost so far {spent}, {budget.tokens:,} tokens"
    )


def without_any_score(generation: GenerationRecord) -> str:
    """Return the most common failure of a generation after which no program of the run has a score; else empty."""
    if generation.best.is_scored or not generation.judged:
        return ""
    verdicts = [one.verdict for one in generation.judged]
    own = [one for one in verdicts if one.outcome is not Outcome.DUPLICATE]
    failures = [(one.outcome.value, one.error.partition("\n")[0]) for one in own]
    kinds = [(outcome, re.sub(r"\d+", "#", error)) for outcome, error in failures]
    if not kinds:
        return "nothing has a score yet"
    (kind, times), *_ = Counter(kinds).most_common(1)
    outcome, error = failures[kinds.index(kind)]
    return f"nothing has a score yet; {times} of {len(verdicts)} samples are {outcome}: {printable(error)}".rstrip(": ")


def night_view(
    run: OpenRun, best: Program, share: float, flag: str, drawings: Drawings, night: NightRecord, log: Iterable[LogLine]
) -> NightView:
    problem, progress, start = run.run.problem, run.progress, run.state.start
    scored = [program for program in run.state.programs.values() if program.is_scored]
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
        best_programs=tuple(heapq.nlargest(_BEST_PROGRAMS, scored, key=lambda program: program.score)),
        flag=flag,
        pictures=drawings.pictures,
        curve=tuple(progress.bests(_CURVE_POINTS)),
        known_best=problem.settings.known.best,
        known_label=problem.settings.known.label,
        stop_reason=night.stop_reason.value if night.stop_reason else "",
        finalists=night.finalists,
        log=tuple(log),
    )
