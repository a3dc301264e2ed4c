"""How fast a machine is, measured by the start program, and time limits that mean the same work on a slower one."""

from __future__ import annotations

from dataclasses import replace

from schemas.bundle import Source
from schemas.job import Job
from schemas.outcome import Outcome, Verdict
from tasks.evaluate.sandbox import Sandbox

MAX_SCALE = 4.0
"""Limit on the factor of time limits, so that a program which never ends does not hold a slow machine for long."""

_MAX_RUNS = 5
_ENOUGH_S = 1.0
"""Seconds of wall-clock time after which a program is not run again to measure it."""


def measure(sandbox: Sandbox, program: Source, *, at_least: int = 1) -> Verdict:
    """Run a program some times, one after the other; return the verdict with the least processor time.

    The least is what other work on the machine disturbed least. A run without a score ends the measurement.

    Args:
        sandbox: Where it runs.
        program: The program.
        at_least: Number of runs, however long they take.
    """
    verdicts: list[Verdict] = []
    while len(verdicts) < at_least or (len(verdicts) < _MAX_RUNS and sum(one.wall_s for one in verdicts) < _ENOUGH_S):
        verdicts.append(sandbox.evaluate(program))
        if not verdicts[-1].is_scored:
            return verdicts[-1]
    return min(verdicts, key=lambda one: one.cpu_s)


def scale_of(verdict: Verdict, head_cpu_s: float) -> float:
    """Return the factor of the time limits of a machine, from 1 to 4.

    Args:
        verdict: Verdict on the start program there, with limits that are 4 times as long.
        head_cpu_s: Processor time of the start program on the head, seconds.
    """
    if verdict.outcome is Outcome.TIMED_OUT:
        return MAX_SCALE
    if not verdict.is_scored:
        return 1.0
    return min(max(1.0, verdict.cpu_s / head_cpu_s), MAX_SCALE)


def with_longer_limits(job: Job, factor: float) -> Job:
    """Return a job whose time limits are longer.

    The limit on wall-clock time is as much longer as that on processor time: a program that computes uses as much of
    the one as of the other, and by default the first implies the second, so that either alone would change nothing.
    """
    limits = job.limits
    more = {"wall_s": limits.wall_s * factor, "cpu_s": limits.cpu_s and limits.cpu_s * factor}
    return replace(job, limits=limits.model_copy(update=more))
