"""The interface of codecs, and the environment of their prompt templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from schemas.outcome import Verdict
from schemas.sampling_settings import Model
from schemas.skeleton import Skeleton

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL)

LONG_LINES = 60
"""Lines of a body from which on a model may answer with edits, which cost less than the whole and fail less often."""


ANY_IDEA = "Try an idea that is not there yet."
"""Request of a prompt that has no operator."""


@dataclass(frozen=True)
class PromptContent:
    """The content of a prompt.

    Attributes:
        bodies: Bodies of the programs, worst first.
        notes: What is said of the score of each, such as `scores 1.5`; empty where nothing is said.
        statement: Task in words; empty for what the skeleton says itself.
        has_system_message: Whether a system message says what the task is.
        packages: Packages besides the standard library that programs may import, in words; known only with a system
            message.
        feedback: Feedback on a failed or worse child of the last program; empty if there is none.
        tried: Tried ideas, listed below headings; empty if none are told.
        instruction: What is asked for beside a better program.
        is_repair: Whether the last program failed and is to be repaired.
        offers_edits: Whether the model may answer with edits where a program is long.
    """

    bodies: tuple[str, ...]
    notes: tuple[str, ...] = ()
    statement: str = ""
    has_system_message: bool = False
    packages: str = ""
    feedback: str = ""
    tried: str = ""
    instruction: str = ANY_IDEA
    is_repair: bool = False
    offers_edits: bool = True

    @property
    def facts(self) -> dict[str, object]:
        """Variables that all templates know."""
        return {
            "has_system_message": self.has_system_message,
            "packages": self.packages,
            "feedback": self.feedback,
            "tried": self.tried,
            "instruction": self.instruction,
            "is_repair": self.is_repair,
            "offers_edits": self.offers_edits,
        }


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """Result of parsing a completion: a body and its hash, or a verdict with the reason why there is none."""

    body: str = ""
    code_hash: str = ""
    verdict: Verdict | None = None


class Codec(Protocol):
    """Renders bodies as a prompt, and parses a body from a completion, for one kind of skeleton.

    Every implementation passes `tests/contract/test_skeleton.py`.
    """

    def render(self, skeleton: Skeleton, content: PromptContent, model: Model) -> str:
        """Return the prompt; for a chat model the user message.

        Args:
            skeleton: Skeleton of this kind.
            content: What it shows.
            model: The model that is sent the prompt.
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


def fence_for(text: str) -> str:
    """Return a fence for a code block that no line of its text closes."""
    return "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
