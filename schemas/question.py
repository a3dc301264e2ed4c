"""A question of a scoring to a model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

MOST_QUESTIONS = 100
"""Maximum number of questions of an evaluation on one input."""

MOST_ANSWER_CHARS = 32_768
"""Maximum length of an answer that reaches a scoring, characters."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a scoring.

    Attributes:
        text: Text that the model is sent.
        input: Position of the input that is scored, from 1.
        ordinal: Number of equal questions before it, in the same evaluation on the same input.
        program: `code_hash` of the program that is scored; empty if it is no candidate.
    """

    text: str
    input: int
    ordinal: int
    program: str = ""


Ask = Callable[[Question], Future[str]]
"""Begins to answer a question; returns a future of the answer that others may have, too, so it must not be cancelled.

The future raises QuestionRefused if there is no answer, and any other OvernightError if there is none now: then nothing
is judged."""
