"""What a prompt says of the last try on its best version that failed or scored lower."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.algorithm import Plan
from schemas.feedback import Feedback
from schemas.marked_file import MarkedFile
from schemas.outcome import Outcome
from schemas.program import Program
from schemas.skeleton import Skeleton

LAST_TRY = "The last try on the best version did not do better:"
"""How it begins."""

_SCORES = 12
"""Inputs whose scores are told."""


def render_feedback(plan: Plan, skeleton: Skeleton, chars: int) -> str:
    """The text; empty where there is nothing to tell, or no room.

    Args:
        plan: Programs shown, with the feedback.
        skeleton: What stands around the bodies.
        chars: The most it may have. Half of it is for the code, a quarter for what was printed.
    """
    feedback = plan.feedback
    if feedback is None or not chars:
        return ""
    language = skeleton.language if isinstance(skeleton, MarkedFile) else "python"
    parts = [
        LAST_TRY,
        f"```{language}\n{_cut(skeleton.bare_text(feedback.body), chars // 2)}\n```",
        _cut(_what_became(feedback, plan.base), chars // 4),
    ]
    if printed := _cut(feedback.output.strip(), chars // 4, keep_end=True):
        parts.append(f"It printed:\n\n```text\n{printed}\n```")
    return "\n\n".join(parts)[: chars + _FRAME]


_FRAME = 120
"""Characters of what stands around the parts."""


def _what_became(feedback: Feedback, parent: Program) -> str:
    if feedback.outcome is not Outcome.SCORED or feedback.score is None:
        return f"It was {feedback.outcome.value.replace('_', ' ')}: {feedback.error}".rstrip(": ")
    told = f"It scored {feedback.score:.6g}, the best version {parent.score:.6g}."
    if len(feedback.scores) < 2:
        return told
    return f"{told} On the inputs, in order: {_listed(feedback.scores)}; the best version: {_listed(parent.scores)}."


def _listed(scores: Sequence[float]) -> str:
    return ", ".join(f"{score:.6g}" for score in scores[:_SCORES]) + ", …" * (len(scores) > _SCORES)


def _cut(text: str, chars: int, *, keep_end: bool = False) -> str:
    """At most so many characters, without what would end a fenced block."""
    text = text.replace("```", "'''")
    if len(text) <= chars:
        return text
    return f"…{text[len(text) - chars + 1 :]}" if keep_end else f"{text[: chars - 1]}…"
