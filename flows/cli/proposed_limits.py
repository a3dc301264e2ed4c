"""What `overnight check` makes of the start program's own use: limits to paste, and what a night will hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flows.cli.printing import duration, say, write_text
from schemas.job import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schemas.outcome import Verdict
    from schemas.problem import Problem

_TIMES = 10
"""A candidate may take so many times the seconds of the start program: a better one is often slower."""

_MEMORY_TIMES = 4

_LEAST_S = 1.0
"""Less is noise: of the machine, not of the program."""

_LEAST_MIB = 64

_SANDBOX_S = 0.004
"""What the sandbox adds to a candidate's own seconds, as `tests/bench` measures it."""


def propose(verdicts: Sequence[Verdict], limits: Limits) -> Limits:
    """Limits with room above what the start program used.

    Args:
        verdicts: On it; all are scored.
        limits: As they are; what cannot be told from them stays.
    """
    wall_s = round_up(_TIMES * max(second for verdict in verdicts for second in verdict.input_wall_s))
    cpu_s = round_up(_TIMES * max(verdict.cpu_s for verdict in verdicts))
    peak_mib = _MEMORY_TIMES * max(verdict.peak_mib for verdict in verdicts)
    memory_mib = max(_LEAST_MIB, 2 ** math.ceil(math.log2(max(1.0, peak_mib))))
    return limits.model_copy(
        update={"wall_s": max(_LEAST_S, wall_s), "cpu_s": max(_LEAST_S, cpu_s), "memory_mib": memory_mib}
    )


def round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 and so on."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 5, 10) if unit * step >= value)


def print_limits(proposed: Limits, *, as_comment: bool) -> None:
    """The settings to paste into a specification's script block, or into an overnight.toml."""
    section = "[tool.overnight.limits]" if as_comment else "[limits]"
    lines = [
        section,
        f"wall_s = {proposed.wall_s:g}",
        f"cpu_s = {proposed.cpu_s:g}",
        f"memory_mib = {proposed.memory_mib}",
    ]
    say(
        f"proposed limits, rounded up: {_TIMES} times the seconds of the slowest input, {_TIMES} times the processor "
        f"seconds of all inputs, {_MEMORY_TIMES} times the memory; to paste into "
        f"{'the `# /// script` block' if as_comment else 'overnight.toml'}:"
    )
    for line in lines:
        write_text(f"# {line}" if as_comment else line)


def candidates_a_second(seconds: float, slots: int) -> float:
    """How many the slots judge, if each takes so many seconds."""
    return slots / (seconds + _SANDBOX_S)


def say_pace(problem: Problem, seconds: float, slots: int) -> None:
    """How many candidates an hour, and how long a generation of them takes, if each takes so many seconds."""
    search = problem.settings.search
    size = search.prompts * search.samples
    rounds = math.ceil(size / slots)
    worst = problem.settings.limits.wall_s * len(problem.inputs["train"])
    hourly = 3600 * candidates_a_second(seconds, slots)
    hourly = round(hourly, 1 - math.floor(math.log10(hourly)))
    say(
        f"pace: {seconds:.2g} s a candidate on {slots} slot{'s' * (slots > 1)}: about "
        f"{hourly:,.0f} an hour if the models keep up, {_brief((seconds + _SANDBOX_S) * rounds)} for a generation of "
        f"{size}; at worst, with the limits as they are, {_brief(worst)} a candidate"
    )


def _brief(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)
