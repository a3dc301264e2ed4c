"""Propose limits and estimate the pace of a night from the resources that the start program used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flows.cli.printing import count, duration, say, write_text
from schemas.job import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.outcome import Verdict
    from schemas.problem import Problem

_SECONDS_FACTOR = 10
"""Proposed limit of seconds as a multiple of the start program's: better programs are often slower."""

_MEMORY_FACTOR = 4

_MIN_LIMIT_S = 1.0
"""Shortest limit that is proposed: shorter times depend on the machine more than on the program."""

_MIN_MEMORY_MIB = 64

_SANDBOX_S = 0.004
"""Seconds that the sandbox adds to each candidate, as measured by `tests/bench`."""


def propose(verdicts: Sequence[Verdict], limits: Limits) -> Limits:
    """Return limits with a margin above the start program's use of time and memory.

    Args:
        verdicts: Verdicts on the start program; all are scored.
        limits: Current limits; those that the verdicts say nothing about are kept.
    """
    wall_s = round_up(_SECONDS_FACTOR * max(seconds for verdict in verdicts for seconds in verdict.input_wall_s))
    cpu_s = round_up(_SECONDS_FACTOR * max(verdict.cpu_s for verdict in verdicts))
    peak_mib = _MEMORY_FACTOR * max(verdict.peak_mib for verdict in verdicts)
    memory_mib = max(_MIN_MEMORY_MIB, 2 ** math.ceil(math.log2(max(1.0, peak_mib))))
    return limits.model_copy(
        update={"wall_s": max(_MIN_LIMIT_S, wall_s), "cpu_s": max(_MIN_LIMIT_S, cpu_s), "memory_mib": memory_mib}
    )


def round_up(value: float) -> float:
    """Round a value up to the next of 1, 2, 5, 10, 20, 50 and so on."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)


def print_limits(proposed: Limits, *, as_comment: bool) -> None:
    """Print limits as settings to paste into a specification's script block or into `overnight.toml`."""
    section = "[tool.overnight.limits]" if as_comment else "[limits]"
    lines = [
        section,
        f"wall_s = {proposed.wall_s:g}",
        f"cpu_s = {proposed.cpu_s:g}",
        f"memory_mib = {proposed.memory_mib}",
    ]
    say(
        f"proposed limits, rounded up: {_SECONDS_FACTOR} times the seconds of the slowest input, {_SECONDS_FACTOR} "
        f"times the processor seconds of all inputs, {_MEMORY_FACTOR} times the memory; to paste into "
        f"{'the `# /// script` block' if as_comment else 'overnight.toml'}:"
    )
    for line in lines:
        write_text(f"# {line}" if as_comment else line)


def candidates_per_second(seconds: float, slots: int) -> float:
    """Return the number of candidates that the slots evaluate per second, given the seconds per candidate."""
    return slots / (seconds + _SANDBOX_S)


def print_pace(problem: Problem, seconds: float, slots: int) -> None:
    """Print the candidates per hour and the duration of a generation, given the seconds per candidate."""
    search = problem.settings.search
    size = search.prompts * search.samples
    rounds = math.ceil(size / slots)
    worst = problem.settings.limits.wall_s * len(problem.inputs["train"])
    hourly = 3600 * candidates_per_second(seconds, slots)
    hourly = round(hourly, 1 - math.floor(math.log10(hourly)))
    say(
        f"pace: {seconds:.2g} s per candidate on {count(slots, 'slot')}: about {hourly:,.0f} per hour if the models "
        f"keep up, {_brief((seconds + _SANDBOX_S) * rounds)} for a generation of {size}; "
        f"at most {_brief(worst)} per candidate with the current limits"
    )


def _brief(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
