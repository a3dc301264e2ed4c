"""The closed list of outcomes of a candidate, and the verdict that carries one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from overnight.schemas.errors import QuestionRefused


@dataclass(frozen=True, slots=True)
class OutcomeFacts:
    """Facts about an outcome, for all parts of the program.

    Attributes:
        name: Its name in files.
        on_light: Its colour in the report on light paper.
        on_dark: The same on dark paper.
        explanation: Beginning of the sentence that explains one program's outcome; its error follows.
        meaning: Fate of the candidate, for the documentation.
        is_informative: Whether it tells a model something about the program, so that a prompt may show it.
        is_repairable: Whether a program failed by itself, so that a model may be asked to repair it.
        counts_as_known: Whether an equal program that is proposed later is a duplicate.
        is_of_sandbox: Whether a sandbox may say it; else it comes before or after the sandbox.
        limits: Settings of `limits` of which a program exceeded one.
        remedy: How to give it more of that, before the flag.
        said: Words of a prompt for what a program did; its error follows.
    """

    name: str
    on_light: str
    on_dark: str
    explanation: str
    meaning: str
    is_informative: bool = True
    is_repairable: bool = False
    counts_as_known: bool = True
    is_of_sandbox: bool = True
    limits: tuple[str, ...] = ()
    remedy: str = ""
    said: str = ""


class Outcome(StrEnum):
    """Closed list of outcomes; only `SCORED` has a score.

    Attributes:
        facts: Facts of the outcome itself.
    """

    facts: OutcomeFacts
    _value_: str

    def __new__(cls, facts: OutcomeFacts) -> Self:
        """Create a member that is its name, and has facts."""
        member = str.__new__(cls, facts.name)
        member._value_ = facts.name
        member.facts = facts
        return member

    # fmt: off
    SCORED = OutcomeFacts("scored", "#1d5fa6", "#82b6f2", "It ran on every training input and scored",
        "it has one finite number for every input")
    UNPARSABLE = OutcomeFacts("unparsable", "#b7b2a5", "#5a5b5e",
        "Dropped without being run: the completion contains no program",
        "the completion holds no program", is_informative=False, is_of_sandbox=False)
    DUPLICATE = OutcomeFacts("duplicate", "#d9d5c9", "#3d3e42", "Dropped without being run",
        "the same program, apart from its form (`search.novelty`), was judged before in this run",
        is_informative=False, counts_as_known=False, is_of_sandbox=False)
    REJECTED = OutcomeFacts("rejected", "#938e80", "#7a7a78", "Dropped: it broke a rule",
        "it calls one of its ancestors, does nothing, fell below a threshold, or has a value that depends on earlier "
        "calls; its error says which",
        said="was rejected")
    CRASHED = OutcomeFacts("crashed", "#d2572e", "#e0713f", "Dropped: it crashed",
        "it raised an error or ended its process", is_repairable=True,
        said="crashed")
    TIMED_OUT = OutcomeFacts("timed_out", "#e79a3c", "#e9a54d", "Dropped: it took too long",
        "it used more wall clock or processor time than the limits allow", is_repairable=True,
        limits=("wall_s", "cpu_s"), remedy="If it ends at all, give it more time",
        said="took too long")
    OUT_OF_MEMORY = OutcomeFacts("out_of_memory", "#b1487f", "#d172a3", "Dropped: it used too much memory",
        "it used more memory than the limits allow", is_repairable=True,
        limits=("memory_mib",), remedy="Give it more memory",
        said="used too much memory")
    OUTPUT_LIMIT = OutcomeFacts("output_limit", "#7d55a3", "#a883cf", "Dropped: it printed too much",
        "it printed more than the limits allow", is_repairable=True,
        limits=("output_kib",), remedy="Let it print more",
        said="printed too much")
    BAD_SCORE = OutcomeFacts("bad_score", "#cdac35", "#d8bc4f", "Dropped: its result is not a valid score",
        "it returned something other than one finite number per input, or a metric that is none", is_repairable=True,
        said="has no valid score")
    OVER_LIMIT = OutcomeFacts("over_limit", "#7a6a45", "#b09c6b", "Dropped: it broke a limit on a metric",
        "it breaks a limit on one of its metrics (`objectives.limits`); its error says which", is_repairable=True,
        is_of_sandbox=False,
        said="broke a limit")
    UNCONFIRMED = OutcomeFacts("unconfirmed", "#3c9a8d", "#58b8aa",
        "Dropped: it would have become the best of its niche, but was not confirmed",
        "it would have been a best and did not get its score again, and its error holds both scores; or a person took "
        "it out with `overnight drop`", is_of_sandbox=False,
        said="was not confirmed")
    SANDBOX_ERROR = OutcomeFacts("sandbox_error", "#4a4a48", "#c9c7c0",
        "Not evaluated, because of a sandbox fault that does not count against it",
        "the sandbox failed, not the program; it is never counted against the program, and an equal program is "
        "evaluated again", is_informative=False, counts_as_known=False)
    # fmt: on


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of judging a candidate.

    Attributes:
        scores: One finite number for each input, in order, if `outcome` is `SCORED`; for a program that scored below a
            threshold, the scores up to that input; else empty.
        error: Reason of the failure, in capped text without control characters; empty if scored.
        wall_s: Wall-clock time of the candidate on all inputs together, seconds.
        peak_mib: Peak resident memory, MiB.
        input_wall_s: Wall-clock time for each input that was finished, seconds.
        output: Output that the candidate printed, capped and cleaned.
        skipped: Number of inputs that were not evaluated, because the score before them was below its threshold.
        machine: Name of the machine of a cluster that evaluated it; empty if this machine did.
        drawing: Text that the program drew, untrusted, if the job draws: the outcome is then `SCORED`, without scores.
        metrics: Further numbers of the scoring, by name: one for each of `scores`, `None` where it gave none.
        notes: Words of the scoring on each input up to the last with a note, capped and cleaned; empty texts between.
        calls: Number of calls of the evolved functions on each finished input, in isolated evaluation.
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
    metrics: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    calls: tuple[int, ...] = ()

    @property
    def is_scored(self) -> bool:
        return self.outcome is Outcome.SCORED


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """A verdict on a candidate of a generation that is not committed yet, as the generation's journal has it.

    Attributes:
        candidate: Index of the candidate.
        confirms: Whether it is the verdict of its confirmation.
        under: Hash of all that the verdict depends on beside the program, such as limits and inputs.
    """

    candidate: int
    code_hash: str
    confirms: bool
    under: str
    verdict: Verdict


DUPLICATE_IN_RUN = Verdict(Outcome.DUPLICATE, error="the same program was judged earlier in this run")
DUPLICATE_IN_GENERATION = Verdict(Outcome.DUPLICATE, error="the same program came earlier in this generation")
STOPPED_BY_DEADLINE = Verdict(Outcome.SANDBOX_ERROR, error="the night's deadline came before it was judged")
"""Verdict on a candidate that was not judged, because its evaluation or confirmation reached the deadline."""
QUESTION_REFUSED = Verdict(Outcome.SANDBOX_ERROR, error=QuestionRefused().message)
"""Verdict on a program of which a question of the scoring was refused, which says nothing of the sandbox."""


def count_outcomes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return the number of each outcome that occurs, in the order of the closed list."""
    return {kind.value: n for kind in Outcome if (n := sum(o is kind for o in outcomes))}


def is_stopped_by_deadline(outcome: str, error: str) -> bool:
    """Return whether a recorded candidate was not judged because the night's deadline came."""
    return outcome == Outcome.SANDBOX_ERROR and error.endswith(STOPPED_BY_DEADLINE.error)
