"""Render feedback for a prompt: the last child of its best version that failed or scored lower."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.algorithm import Plan
from schemas.feedback import Feedback
from schemas.outcome import Outcome
from schemas.program import Program
from schemas.skeleton import Skeleton

LAST_TRY = "The last try on the best version did not do better:"
"""First line of the feedback."""

_MAX_SCORES = 12
"""Inputs whose scores are listed."""

_FRAME_CHARS = 120
"""Characters of the text around the parts."""


def render_feedback(plan: Plan, skeleton: Skeleton, chars: int) -> str:
    """Return the feedback as text; empty if there is none, or no room for it.

    Args:
        plan: Plan with the feedback and its base.
        skeleton: Code around the bodies.
        chars: Maximum length in characters: half for the code, a quarter each for the outcome and the output.
    """
    feedback = plan.feedback
    if feedback is None or not chars:
        return ""
    parts = [
        LAST_TRY,
        f"```{skeleton.language}\n{_cut(skeleton.bare_text(feedback.body), chars // 2)}\n```",
        _cut(_describe_outcome(feedback, plan.base), chars // 4),
    ]
    output = _cut(feedback.output.strip(), chars // 4, keep_end=True)
    if output:
        parts.append(f"It printed:\n\n```text\n{output}\n```")
    return "\n\n".join(parts)[: chars + _FRAME_CHARS]


def describe_failure(failed: Feedback, chars: int) -> str:
    """Return the outcome and the output of a failed program, its code left out.

    Args:
        failed: The failed program.
        chars: Maximum length, characters.
    """
    said = f"The last version was {failed.outcome.words}: {failed.error}".rstrip(": ")
    parts = [_cut(said, chars // 2, keep_end=True)]
    if output := _cut(failed.output.strip(), chars // 2, keep_end=True):
        parts.append(f"It printed:\n\n```text\n{output}\n```")
    return "\n\n".join(parts)


def _describe_outcome(feedback: Feedback, parent: Program) -> str:
    if feedback.outcome is not Outcome.SCORED or feedback.score is None:
        return f"It was {feedback.outcome.words}: {feedback.error}".rstrip(": ")
    text = f"It scored {feedback.score:.6g}, the best version {parent.score:.6g}."
    if len(feedback.scores) < 2:
        return text
    scores, parent_scores = format_scores(feedback.scores), format_scores(parent.scores)
    return f"{text} On the inputs, in order: {scores}; the best version: {parent_scores}."


def format_scores(scores: Sequence[float]) -> str:
    """Return scores to 6 significant digits; of many, the first."""
    texts = [f"{score:.6g}" for score in scores[:_MAX_SCORES]]
    if len(scores) > _MAX_SCORES:
        texts.append("…")
    return ", ".join(texts)


def _cut(text: str, chars: int, *, keep_end: bool = False) -> str:
    """Shorten a text to so many characters, and replace backticks that would end a fenced block."""
    text = text.replace("```", "'''")
    if len(text) <= chars:
        return text
    return f"…{text[len(text) - chars + 1 :]}" if keep_end else f"{text[: chars - 1]}…"
