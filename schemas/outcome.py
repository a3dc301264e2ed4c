"""What became of a candidate: the closed list of outcomes, and the verdict that carries one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Closed list; only `SCORED` comes with a score."""

    SCORED = "scored"
    UNPARSABLE = "unparsable"
    """No program in the completion."""
    DUPLICATE = "duplicate"
    """The same program was judged before in this run."""
    REJECTED = "rejected"
    """By a rule: it calls an ancestor, changes nothing, or falls below a threshold of its problem."""
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    BAD_SCORE = "bad_score"
    """Not exactly one finite number for each input."""
    UNCONFIRMED = "unconfirmed"
    """A best whose score did not come again."""
    SANDBOX_ERROR = "sandbox_error"
    """Ours, not the program's fault: never counted against it, evaluated again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one judgement of one candidate.

    Attributes:
        scores: One finite number for each input, in their order, if `outcome` is `SCORED`; of a program that fell below
            a threshold those up to there; else empty.
        error: What went wrong, in plain capped text without control characters; empty when scored.
        wall_s: Seconds of wall clock the candidate had, all inputs together.
        cpu_s: Seconds of processor time, user and system.
        peak_mib: Peak resident memory, MiB.
        input_wall_s: Seconds of wall clock for each input that was finished.
        output: What the candidate printed, capped and cleaned.
        skipped: Inputs that were not evaluated, because the score on the one before them is below its threshold.
    """

    outcome: Outcome
    scores: tuple[float, ...] = ()
    error: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    input_wall_s: tuple[float, ...] = ()
    output: str = ""
    skipped: int = 0

    @property
    def is_scored(self) -> bool:
        return self.outcome is Outcome.SCORED


JUDGED_BEFORE = Verdict(Outcome.DUPLICATE, error="the same program was judged earlier in this run")
JUDGED_BESIDE = Verdict(Outcome.DUPLICATE, error="the same program came earlier in this generation")


def count_outcomes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many of each outcome, those that occur only, in the order of the closed list."""
    return {kind.value: n for kind in Outcome if (n := sum(o is kind for o in outcomes))}


CUT_SHORT = Verdict(Outcome.SANDBOX_ERROR, error="the night's deadline came before it was judged")
"""Of a candidate whose evaluation or confirmation was cut short: nobody has judged it."""


def is_cut_short(outcome: str, error: str) -> bool:
    """Tell whether a recorded candidate was not judged because the night's deadline came."""
    return outcome == Outcome.SANDBOX_ERROR and error.endswith(CUT_SHORT.error)
