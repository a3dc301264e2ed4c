"""The interface of codecs, and the environment of their prompt templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from schemas.settings import Model
from schemas.skeleton import Skeleton
from tasks.sample.parsing.parsed import ParsedCompletion

LONG_LINES = 60
"""Lines of a body from which on a model may answer with edits, which cost less than the whole and fail less often."""


class Codec(Protocol):
    """Renders bodies as a prompt, and parses a body from a completion, for one kind of skeleton.

    Every implementation passes `tests/contract/test_skeleton.py`.
    """

    def render(self, skeleton: Skeleton, bodies: Sequence[str], model: Model, statement: str, feedback: str) -> str:
        """Return the prompt.

        Args:
            skeleton: Skeleton of this kind.
            bodies: Bodies of the programs to show, worst first.
            model: The model that is sent the prompt.
            statement: Task in words; empty for what the skeleton says itself.
            feedback: Feedback on a failed or worse child of the last program; empty if there is none.
        """
        ...

    def parse(self, text: str, skeleton: Skeleton, shown: int, base: str) -> ParsedCompletion:
        """Return the body in a completion, or the verdict that there is none.

        Args:
            text: Text of the completion, from an untrusted source.
            skeleton: Skeleton of this kind.
            shown: Number of programs in the prompt.
            base: Body of the best one, in which parts that the completion leaves out stay; empty for the start body.
        """
        ...


@cache
def templates() -> SandboxedEnvironment:
    """Return the environment of the prompt templates."""
    return SandboxedEnvironment(
        loader=PackageLoader("tasks.sample"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
