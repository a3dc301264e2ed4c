"""Propose limits and estimate the pace of a night from the resources that the start program used."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flows.cli.printing import count, duration, say, write_text
from flows.formatting import round_up
from schemas.job import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from schemas.outcome import Verdict
    from schemas.problem import Problem

_SECONDS_FACTOR = 10
"""Proposed limit of seconds as a multiple of the start program's: better programs are often slower."""

_MEMORY_FACTOR = 4

_MIN_LIMIT_S = 1.0
"""Shortest limit that is proposed: shorter times depend on the machine more than on the program."""

_MIN_MEMORY_MIB = 64

_LONG_S, _LONG_FACTOR = 60.0, 10
"""Seconds, and multiple of the proposed limit, from which on a limit is said to be long."""

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


def print_limits(proposed: Limits, existing: Mapping[str, Any], *, as_comment: bool) -> None:
    """Print limits as settings for a specification's script block or for `overnight.toml`.

    Args:
        proposed: The limits.
        existing: Limits that the file has already, which the printed ones replace; those not proposed are repeated.
        as_comment: Whether they are for a script block.
    """
    section = "[tool.overnight.limits]" if as_comment else "[limits]"
    values = {"wall_s": proposed.wall_s, "cpu_s": proposed.cpu_s, "memory_mib": proposed.memory_mib}
    values = values | {name: value for name, value in existing.items() if name not in values}
    place = "the `# /// script` block" if as_comment else "overnight.toml"
    say(
        f"proposed limits, rounded up: {_SECONDS_FACTOR} times the seconds of the slowest input, {_SECONDS_FACTOR} "
        f"times the processor seconds of all inputs, {_MEMORY_FACTOR} times the memory; "
        + (f"to replace {section} in {place}:" if existing else f"to paste into {place}:")
    )
    for line in (section, *(f"{name} = {_toml(value)}" for name, value in values.items())):
        write_text(f"# {line}" if as_comment else line)


def long_limit(limits: Limits, proposed: Limits, verdicts: Sequence[Verdict]) -> str:
    """Return a message if the time limit is much longer than the start program needs; else empty.

    Args:
        limits: Current limits.
        proposed: Proposed limits.
        verdicts: Verdicts on the start program.
    """
    if limits.wall_s < max(_LONG_S, _LONG_FACTOR * proposed.wall_s):
        return ""
    slowest = max(seconds for verdict in verdicts for seconds in verdict.input_wall_s)
    return (
        f"the slowest input took {slowest:.2g} s, and {limits.wall_s:g} s are allowed, for which a program that never "
        f"ends would hold a slot: set limits.wall_s = {proposed.wall_s:g}, or --set limits.wall_s={proposed.wall_s:g}"
    )


def _toml(value: float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:.10g}"


def existing_limits(problem: Problem, path: Path) -> Mapping[str, Any]:
    """Return the limits in the problem's own file: the script block of a specification, or `overnight.toml`."""
    from tasks.problems.loading.formats import NamedProblem
    from tasks.program.config_layers import script_block

    if problem.specification.run:
        limits = script_block(problem.specification.text, path.name).get("tool", {}).get("overnight", {})
    else:
        limits = NamedProblem(path).settings_file
    return dict(limits.get("limits", {}))


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
