"""Show the progress of a night: a live panel on a terminal, one line per generation elsewhere."""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from overnight.flows.cli.printing import count, duration, err, printable, say, score
from overnight.flows.formatting import outcomes_text, spark
from overnight.flows.night.facts import spent
from overnight.flows.night.progress import Progress
from overnight.flows.night.stop_conditions import StopConditions
from overnight.tasks.evaluate.cluster.slots import MachineState
from overnight.tasks.sample.budget import RequestsInFlight

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from overnight.flows.night.open_run import OpenRun


_OTHER_ROWS = 14
"""Rows of the panel beside the machines, and a line below it."""

_CURVE_WIDTH = 60
"""Most characters of the line that shows how the best score rose."""

_BUSY = "sample and evaluate"
"""Phase of a night in which neither a commit nor a pause is awaited."""

_QUIET_S = 60.0
"""Seconds without a line after which one says what is evaluated."""

_LABEL_WIDTH = 12
"""Columns before the values: the longest label and the gap."""

_IN_ONE_LINE = 4
"""Most machines whose rates are in the first line; those of more fill further lines, as many in each."""


def live_view(run: OpenRun, conditions: StopConditions) -> contextlib.AbstractContextManager[None]:
    """Show `run.progress` until the block ends."""
    return _panel(run, conditions) if err().is_terminal else _lines(run)


@contextlib.contextmanager
def _panel(run: OpenRun, conditions: StopConditions) -> Iterator[None]:
    from rich.live import Live

    first = run.state.generations
    with Live(get_renderable=lambda: render(run, conditions, first), console=err(), refresh_per_second=4):
        yield


def render(run: OpenRun, conditions: StopConditions, first: int) -> Table:
    """Return the panel in its current state; `first` is the number of generations before the night."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for label, value in _rows(run, conditions, first):
        grid.add_row(label, value)
    return grid


def _rows(run: OpenRun, conditions: StopConditions, first: int) -> Iterator[tuple[str, RenderableType]]:
    """Yield the rows of the panel: a label and what it says."""
    from rich.text import Text

    progress, settings = run.progress, run.run.problem.settings
    # As a `Text`, here and below, so that brackets in text of others are not read as Rich markup.
    yield "problem", Text(printable(settings.title or run.run.problem.name), style="bold")
    yield "generation", f"{progress.generation}  ({progress.phase})"
    planned = _planned_samples(run, conditions)
    yield "samples", f"{progress.samples}{f' of {planned}' if planned else ''}  {spent(progress.budget)}"
    sessions = progress.sessions()
    awaited = "" if sessions else _awaited(progress)
    of_people = printable(awaited_of_people(progress.requests))
    yield "requests", Text("; ".join(filter(None, (in_flight(progress.requests), awaited, of_people))))
    if sessions:
        yield "agents", Text(printable("\n".join(sessions)))
    yield "outcomes", outcomes_text(progress.outcomes_so_far())
    digits = settings.known.digits_beside(progress.best)
    yield "best", f"{score(progress.best, digits)}  ({_found_at(run, first)}){_claimed(progress)}"
    width = max(1, min(_CURVE_WIDTH, err().width - _LABEL_WIDTH))
    yield "", Text(spark(progress.bests(width), width, err().encoding), no_wrap=True)
    if conditions.target is not None:
        yield "target", conditions.target if isinstance(conditions.target, str) else score(conditions.target)
    if (known := settings.known).best is not None:
        holder = f"  ({printable(known.label)})" if known.label else ""
        yield "best known", Text(f"{score(known.best, digits)}{holder}")
    yield "pace", f"{progress.per_second():.1f} candidates/s"
    if run.cluster is not None:
        lines = machine_lines(run.cluster.slots.states(), err().height - _OTHER_ROWS)
        yield "machines", Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
    yield "time", _time(run, conditions)
    if progress.message:
        yield "note", Text(printable(progress.message))


def _found_at(run: OpenRun, first: int) -> str:
    progress = run.progress
    if progress.best_at > first:
        return f"generation {progress.best_at}, {duration(time.monotonic() - progress.best_since)} ago"
    return "before this night" if first else "the start program"


def _claimed(progress: Progress) -> str:
    claim = progress.best_claim
    return "" if claim is None else f"; a program of the generation under way scores {score(claim)}"


def in_flight(requests: RequestsInFlight) -> str:
    """Return how many requests are in flight, and for how long, like `12 in flight, the oldest for 34 s`."""
    if not (count := requests.count()):
        return "none in flight"
    return f"{count} in flight, {'' if count == 1 else 'the oldest '}for {duration(requests.oldest_s())}"


def awaited_of_people(requests: RequestsInFlight) -> str:
    """Return how many requests wait in folders, and the command that lists them; empty if there are none."""
    folders = {
        model.partition(":")[2]: number for model, number in requests.by_model().items() if model.startswith("relay:")
    }
    return "; ".join(
        f"{count(number, 'request')} to answer: overnight relay {shlex.quote(folder)}"
        for folder, number in folders.items()
    )


def _awaited(progress: Progress) -> str:
    """Return what a night waits for: evaluations, or something else while no request is in flight; else empty."""
    if evaluated := evaluating(progress.evaluations()):
        return evaluated
    if progress.requests.count() or progress.phase != _BUSY:
        return ""
    return "confirming or tuning programs"


def evaluating(seconds: Sequence[float]) -> str:
    """Return how many programs are evaluated, and for how long: `evaluating 4 programs, the oldest for 34 s, …`."""
    oldest = "" if len(seconds) == 1 else ", the oldest"
    what = count(len(seconds), "program")
    return f"evaluating {what}{oldest} for {duration(max(seconds))}, waits for a slot included" if seconds else ""


def _time(run: OpenRun, conditions: StopConditions) -> str:
    """Return the elapsed time and, if it can be estimated, the remaining time.

    After its end time, a night still commits the generation under way and judges the finalists.
    """
    elapsed = time.monotonic() - run.progress.begin
    if conditions.until is not None:
        left = (conditions.until - datetime.now(UTC)).total_seconds()
        return f"{duration(elapsed)}, {f'{duration(left)} left' if left > 0 else 'finishing what is under way'}"
    done = run.progress.candidates
    planned = _planned_samples(run, conditions)
    if planned and 0 < done < planned:
        return f"{duration(elapsed)}, about {duration(elapsed / done * (planned - done))} left"
    return duration(elapsed)


def _planned_samples(run: OpenRun, conditions: StopConditions) -> int:
    """Return the number of samples after which the night stops; 0 if it is not fixed."""
    if conditions.generations is not None:
        return (
            conditions.generations * run.run.problem.settings.search.prompts * run.run.problem.settings.search.samples
        )
    return conditions.max_samples or 0


@contextlib.contextmanager
def _lines(run: OpenRun) -> Iterator[None]:
    """Print a line for each committed generation and each new message, and while it is quiet, from a thread."""
    stop, said_at = threading.Event(), time.monotonic()

    def tell(text: str) -> None:
        nonlocal said_at
        said_at = time.monotonic()
        say(text)

    def watch() -> None:
        shown, is_over, claimed, asked = run.progress.generations, False, run.progress.best, ""
        while not is_over:
            is_over = stop.wait(0.5)  # after the stop, look once more, for the last generation
            progress = run.progress
            while progress.news:
                tell(progress.news.popleft())
            if (wanted := awaited_of_people(progress.requests)) and not asked:
                tell(wanted)
            asked = wanted
            if (claim := progress.best_claim) is not None and claim > claimed:
                claimed = claim
                tell(f"best {score(progress.best)}{_claimed(progress)}, which is not committed yet")
            if progress.generations > shown:
                shown = progress.generations
                cluster = run.cluster
                machines = f", {machines_in_short(cluster.slots.states())}" if cluster is not None else ""
                tell(
                    f"generation {progress.latest}: best {score(progress.best)}, {progress.candidates} samples, "
                    f"{outcomes_text(progress.outcomes)}, {spent(progress.budget)}{machines}"
                )

            quiet_s, evaluated = time.monotonic() - said_at, progress.evaluations()
            if evaluated and min(quiet_s, max(evaluated)) >= _QUIET_S:
                tell(evaluating(evaluated))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def machine_lines(machines: Sequence[MachineState], room: int) -> list[str]:
    """Return lines about machines: all together, those that are set aside, and the rate of each if there is room.

    The first line, and one about what is set aside, are there however few lines there is room for.
    """
    if not machines:
        return ["none: waiting for one to join"]
    rates = [f"{machine.name} {machine.per_minute:.0f}" for machine in machines if machine.aside_s is None]
    first = machines_in_short(machines)
    if len(machines) <= _IN_ONE_LINE:
        first = f"{first}: {', '.join(rates)}" if len(rates) > 1 else first
        rates = []
    lines = [first, *_fitting([_aside(machine) for machine in machines if machine.aside_s is not None], room - 1)]
    rows = [", ".join(rates[place : place + _IN_ONE_LINE]) for place in range(0, len(rates), _IN_ONE_LINE)]
    return lines + (_fitting(rows, room - len(lines)) if len(lines) < room else [])


def machines_in_short(machines: Sequence[MachineState]) -> str:
    """Return the number of machines, their slots and their rate, in a few words."""
    slots, rate = sum(machine.slots for machine in machines), sum(machine.per_minute for machine in machines)
    aside = sum(machine.aside_s is not None for machine in machines)
    named = f"{count(len(machines), 'machine')}, {count(slots, 'slot')}, {rate:.0f} programs/min"
    return f"{named}, {aside} set aside" if aside else named


def _aside(machine: MachineState) -> str:
    times = f" after {count(machine.faults, 'fault')}" if machine.faults > 1 else ""
    return f"{machine.name} is set aside for {duration(machine.aside_s or 0.0)}{times}: {printable(machine.reason)}"


def _fitting(lines: list[str], room: int) -> list[str]:
    """Return as many lines as fit, at least one; in place of the last one, how many are left out."""
    if room <= 1:
        return lines[:1]
    shown = lines[:room]
    if left := len(lines) - len(shown):
        shown[-1] = f"and {count(left + 1, 'more line')} like this"
    return shown
