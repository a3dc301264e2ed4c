"""The live view of a night: a panel on a terminal, a line a generation elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.cli.printing import duration, err, printable, say, score, usd
from schemas.outcome import Outcome

if TYPE_CHECKING:
    from rich.table import Table

    from flows.session import Session
    from flows.stop_conditions import StopConditions
    from tasks.sample.budget import Budget


@contextlib.contextmanager
def live_view(session: Session, rules: StopConditions) -> Iterator[None]:
    """Shows what `session.progress` says until the block ends."""
    with _panel(session, rules) if err().is_terminal else _lines(session):
        yield


@contextlib.contextmanager
def _panel(session: Session, rules: StopConditions) -> Iterator[None]:
    from rich.live import Live

    first = session.generations
    with Live(get_renderable=lambda: render(session, rules, first), console=err(), refresh_per_second=4):
        yield


def render(session: Session, rules: StopConditions, first: int) -> Table:
    """The panel as it is now."""
    from rich.table import Table
    from rich.text import Text

    progress = session.progress
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    of = f" of {first + rules.generations}" if rules.generations else ""
    grid.add_row("generation", f"{progress.generation}{of}  ({progress.phase})")
    grid.add_row("samples", f"{progress.samples}  {spent(progress.budget)}")
    grid.add_row("outcomes", outcomes(progress.outcomes))
    grid.add_row("best", f"{score(progress.best)}  ({_found(session, first)})")
    grid.add_row("pace", f"{progress.per_second():.1f} candidates/s")
    grid.add_row("time", _time(session, rules))
    if progress.message:
        # As a text: brackets in what a provider or program said are no marks of ours.
        grid.add_row("note", Text(printable(progress.message)))
    return grid


def _found(session: Session, first: int) -> str:
    progress = session.progress
    if progress.best_at > first:
        return f"generation {progress.best_at}, {duration(time.monotonic() - progress.best_since)} ago"
    return "before this night" if first else "the start program"


def outcomes(counts: dict[Outcome, int]) -> str:
    """`scored 40, crashed 3`, in the order of the closed list."""
    return ", ".join(f"{kind.value} {counts[kind]}" for kind in Outcome if counts.get(kind)) or "–"


def spent(budget: Budget) -> str:
    """`$1.20 of $5.00, 81,000 tokens`; what has no price is not told as free."""
    limits, total = budget.limits, f" ({usd(budget.total_usd)} with earlier nights)" if budget.before_usd else ""
    of_usd = f" of {usd(limits.night_usd)}" if limits.night_usd is not None else ""
    of_tokens = f" of {limits.tokens:,}" if limits.tokens is not None else ""
    if budget.has_unknown_costs and not budget.night_usd:
        return f"price unknown{total}, {budget.tokens:,}{of_tokens} tokens"
    more = " and what has no known price" if budget.has_unknown_costs else ""
    return f"{usd(budget.night_usd)}{more}{of_usd}{total}, {budget.tokens:,}{of_tokens} tokens"


def _time(session: Session, rules: StopConditions) -> str:
    gone = time.monotonic() - session.progress.begin
    if rules.until is not None:
        left = (rules.until - datetime.now(UTC)).total_seconds()
        return f"{duration(gone)}, {duration(max(0.0, left))} left"
    done = session.progress.candidates
    wanted = _samples_wanted(session, rules)
    if wanted and 0 < done < wanted:
        return f"{duration(gone)}, about {duration(gone / done * (wanted - done))} left"
    return duration(gone)


def _samples_wanted(session: Session, rules: StopConditions) -> int:
    if rules.generations is not None:
        return rules.generations * session.search.prompts * session.search.samples
    return rules.max_samples or 0


@contextlib.contextmanager
def _lines(session: Session) -> Iterator[None]:
    stop = threading.Event()

    def watch() -> None:
        shown, message, is_over = session.generations, "", False
        while not is_over:
            is_over = stop.wait(0.5)  # and one more look: the last generation counts, too
            progress = session.progress
            if progress.message and progress.message != message:
                say(progress.message)
            message = progress.message
            if session.generations > shown:
                shown = session.generations
                if shown in session.failed:
                    continue
                say(
                    f"generation {shown}: best {score(progress.best)}, {progress.candidates} samples, "
                    f"{outcomes(progress.outcomes)}, {spent(progress.budget)}"
                )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
