"""Show the progress of a night: a live panel on a terminal, one line per generation elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.cli.machine_lines import machine_lines, machines_in_short
from flows.cli.printing import duration, err, printable, say, score, usd
from schemas.outcome import Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from flows.session import Session
    from flows.stop_conditions import StopConditions
    from tasks.sample.budget import Budget


_OTHER_ROWS = 9
"""Rows of the panel beside the machines, and a line below it."""


@contextlib.contextmanager
def live_view(session: Session, conditions: StopConditions) -> Iterator[None]:
    """Show `session.progress` until the block ends."""
    with _panel(session, conditions) if err().is_terminal else _lines(session):
        yield


@contextlib.contextmanager
def _panel(session: Session, conditions: StopConditions) -> Iterator[None]:
    from rich.live import Live

    first = session.state.generations
    with Live(get_renderable=lambda: render(session, conditions, first), console=err(), refresh_per_second=4):
        yield


def render(session: Session, conditions: StopConditions, first: int) -> Table:
    """Return the panel in its current state.

    Args:
        session: The night.
        conditions: Stop conditions of the night.
        first: Number of generations before the night.
    """
    from rich.table import Table
    from rich.text import Text

    progress = session.progress
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    of = f" of {first + conditions.generations}" if conditions.generations else ""
    grid.add_row("generation", f"{progress.generation}{of}  ({progress.phase})")
    grid.add_row("samples", f"{progress.samples}  {spent(progress.budget)}")
    grid.add_row("outcomes", outcomes(progress.outcomes))
    grid.add_row("best", f"{score(progress.best)}  ({_found_at(session, first)})")
    grid.add_row("pace", f"{progress.per_second():.1f} candidates/s")
    if session.cluster is not None:
        lines = machine_lines(session.cluster.slots.states(), err().height - _OTHER_ROWS)
        grid.add_row("machines", Text("\n".join(lines), no_wrap=True, overflow="ellipsis"))
    grid.add_row("time", _time(session, conditions))
    if progress.message:
        # As a `Text`, so that brackets in text of a provider or program are not read as Rich markup.
        grid.add_row("note", Text(printable(progress.message)))
    return grid


def _found_at(session: Session, first: int) -> str:
    """Return when the best program was found, as text."""
    progress = session.progress
    if progress.best_at > first:
        return f"generation {progress.best_at}, {duration(time.monotonic() - progress.best_since)} ago"
    return "before this night" if first else "the start program"


def outcomes(counts: dict[Outcome, int]) -> str:
    """Return counts like `scored 40, crashed 3`, in the order of `Outcome`."""
    return ", ".join(f"{kind.value} {counts[kind]}" for kind in Outcome if counts.get(kind)) or "–"


def spent(budget: Budget) -> str:
    """Return spending like `$1.20 of $5.00, 81,000 tokens`; unpriced tokens are named, not counted as free."""
    limits, total = budget.limits, f" ({usd(budget.total_usd)} with earlier nights)" if budget.before_usd else ""
    of_usd = f" of {usd(limits.night_usd)}" if limits.night_usd is not None else ""
    of_tokens = f" of {limits.tokens:,}" if limits.tokens is not None else ""
    cached = f" ({budget.tokens_cached:,} from a cache)" if budget.tokens_cached else ""
    if budget.has_unknown_costs and not budget.night_usd:
        return f"price unknown{total}, {budget.tokens:,}{of_tokens} tokens{cached}"
    unpriced = " and tokens without a known price" if budget.has_unknown_costs else ""
    return f"{usd(budget.night_usd)}{unpriced}{of_usd}{total}, {budget.tokens:,}{of_tokens} tokens{cached}"


def _time(session: Session, conditions: StopConditions) -> str:
    """Return the elapsed time and, if it can be estimated, the remaining time."""
    elapsed = time.monotonic() - session.progress.begin
    if conditions.until is not None:
        left = (conditions.until - datetime.now(UTC)).total_seconds()
        return f"{duration(elapsed)}, {duration(max(0.0, left))} left"
    done = session.progress.candidates
    planned = _planned_samples(session, conditions)
    if planned and 0 < done < planned:
        return f"{duration(elapsed)}, about {duration(elapsed / done * (planned - done))} left"
    return duration(elapsed)


def _planned_samples(session: Session, conditions: StopConditions) -> int:
    """Return the number of samples after which the night stops; 0 if it is not fixed."""
    if conditions.generations is not None:
        return conditions.generations * session.search.prompts * session.search.samples
    return conditions.max_samples or 0


@contextlib.contextmanager
def _lines(session: Session) -> Iterator[None]:
    """Print a line for each committed generation and for each new message, from a thread."""
    stop = threading.Event()

    def watch() -> None:
        shown, message, is_over = session.state.generations, "", False
        while not is_over:
            is_over = stop.wait(0.5)  # after the stop, look once more, for the last generation
            progress = session.progress
            if progress.message and progress.message != message:
                say(progress.message)
            message = progress.message
            if session.state.generations > shown:
                shown = session.state.generations
                if shown in session.state.failed:
                    continue
                cluster = session.cluster
                machines = f", {machines_in_short(cluster.slots.states())}" if cluster is not None else ""
                say(
                    f"generation {shown}: best {score(progress.best)}, {progress.candidates} samples, "
                    f"{outcomes(progress.outcomes)}, {spent(progress.budget)}{machines}"
                )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
