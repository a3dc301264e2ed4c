"""The closed list of outcomes of a candidate, and the verdict that carries one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Closed list of outcomes; only `SCORED` has a score."""

    SCORED = "scored"
    UNPARSABLE = "unparsable"
    """The completion contains no program."""
    DUPLICATE = "duplicate"
    """The same program was evaluated earlier in this run."""
    REJECTED = "rejected"
    """The candidate breaks a rule: it calls an ancestor, changes nothing, or scores below a threshold."""
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    BAD_SCORE = "bad_score"
    """The program did not return exactly one finite number for each input."""
    UNCONFIRMED = "unconfirmed"
    """A new best program whose confirmation gave another score."""
    SANDBOX_ERROR = "sandbox_error"
    """The sandbox failed, not the program, which is evaluated again."""


NOT_EVALUATED = frozenset((Outcome.DUPLICATE, Outcome.SANDBOX_ERROR))
"""Outcomes after which a program is evaluated when it is proposed again; the original of a duplicate has its own."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of judging a candidate.

    Attributes:
        scores: One finite number for each input, in order, if `outcome` is `SCORED`; for a program that scored below a
            threshold, the scores up to that input; else empty.
        error: Reason of the failure, in capped text without control characters; empty if scored.
        wall_s: Wall-clock time of the candidate on all inputs together, seconds.
        cpu_s: Processor time, user and system, seconds.
        peak_mib: Peak resident memory, MiB.
        input_wall_s: Wall-clock time for each input that was finished, seconds.
        output: Output that the candidate printed, capped and cleaned.
        skipped: Number of inputs that were not evaluated, because the score before them was below its threshold.
        machine: Name of the machine of a cluster that evaluated it; empty if this machine did.
        drawing: Text that the program drew, untrusted, if the job draws: the outcome is then `SCORED`, without scores.
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
    machine: str = ""
    drawing: str = ""

    @property
    def is_scored(self) -> bool:
        """Whether the candidate has a score."""
        return self.outcome is Outcome.SCORED


JUDGED_BEFORE = Verdict(Outcome.DUPLICATE, error="the same program was judged earlier in this run")
JUDGED_BESIDE = Verdict(Outcome.DUPLICATE, error="the same program came earlier in this generation")


def count_outcomes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the number of each outcome that occurs, in the order of the closed list."""
    return {kind.value: n for kind in Outcome if (n := sum(o is kind for o in outcomes))}


CUT_SHORT = Verdict(Outcome.SANDBOX_ERROR, error="the night's deadline came before it was judged")
"""Verdict on a candidate that was not judged, because its evaluation or confirmation reached the deadline."""


def is_cut_short(outcome: str, error: str) -> bool:
    """Return whether a recorded candidate was not judged because the night's deadline came."""
    return outcome == Outcome.SANDBOX_ERROR and error.endswith(CUT_SHORT.error)
