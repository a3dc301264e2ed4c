"""The words in which a prompt asks for each operator."""

from __future__ import annotations

from schemas.algorithm import Plan
from schemas.feedback import Feedback
from schemas.operators import Operator
from schemas.program import Program
from tasks.sample.codecs.codec import ANY_IDEA

_ASKED = {
    Operator.REFINE: "Make one targeted change that should raise the score, and keep the rest as it is.",
    Operator.REWRITE: "Keep its main idea, but build it better: rewrite the parts that hold the score back.",
    Operator.FRESH: "Do not build on what is shown: write a different algorithm from scratch.",
    Operator.CROSS: "Combine the best parts of the versions above in one program.",
    Operator.SIMPLIFY: "Make it simpler: remove what does not help, so that the score stays or rises.",
    Operator.REPAIR: "It failed. Mend it with as little change as needed, and keep its idea.",
}

_MAX_LISTED = 12
"""Inputs that are listed by number."""


def instruction(plan: Plan) -> str:
    """Return what a prompt asks for beside a better program."""
    match plan.operator:
        case None:
            return ANY_IDEA
        case Operator.TACTIC:
            return f"Small changes have stopped helping. Take a different approach: {plan.tactic}."
        case Operator.CROSS:
            return f"{_ASKED[Operator.CROSS]}{_strengths(plan.shown)}"
        case operator:
            return _ASKED[operator]


def failure_note(failed: Feedback) -> str:
    """Return what stands beside a failed program instead of its score."""
    return f"failed: {failed.outcome.value.replace('_', ' ')}"


def _strengths(shown: tuple[Program, ...]) -> str:
    """Return on which inputs the first program is better than the base, in words; empty if on none."""
    one, base = shown[0], shown[-1]
    pairs = zip(one.scores, base.scores, strict=False)
    better = [number for number, (mine, theirs) in enumerate(pairs, start=1) if mine > theirs]
    if not better or len(base.scores) < 2:
        return ""
    listed = ", ".join(map(str, better[:_MAX_LISTED])) + (", …" if len(better) > _MAX_LISTED else "")
    return f" The first one is better on input{'s' if len(better) > 1 else ''} {listed}, the last one on the others."
