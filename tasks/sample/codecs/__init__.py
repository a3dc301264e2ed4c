"""Write prompts and parse completions, by kind of skeleton: each kind is the module of this package with its name.

Here are the interface of codecs, and the environment of their prompt templates. Start reading in `file.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.sampling_settings import Model
from overnight.schemas.skeleton import Skeleton

FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)|\Z)", re.MULTILINE | re.DOTALL)

LONG_LINES = 60
"""Lines of a body from which on a model may answer with edits, which cost less than the whole and fail less often."""

LAST_TRY = "The last try on the last version did not do better:"
"""First line of the feedback in a prompt."""

EARLIER_TRY = "A try on an earlier version, which the last one comes from, did not do better than it:"
"""The same where the try changed another program."""

FIRST_TRY = "The last try has no score:"
"""The same where no program has a score yet."""

ANY_IDEA = "Try an idea that is not there yet."
"""Request of a prompt that has no operator."""


@dataclass(frozen=True)
class PromptContent:
    """The content of a prompt.

    Attributes:
        bodies: Bodies of the programs, the base last.
        notes: Words on the score of each, such as `scores 1.5`; empty where nothing is said.
        statement: Task in words; empty for what the skeleton says itself.
        has_system_message: Whether a system message says what the task is.
        packages: Packages besides the standard library that programs may import, in words; known only with a system
            message.
        feedback: Feedback on a failed or worse child of the last program; empty if there is none.
        tried: Tried ideas, listed below headings; empty if none are told.
        instruction: Request beside a better program.
        is_best: Whether no program of the search is better than the last one.
        shows_best: Whether the best program of the search is shown before a last one that is worse.
        is_repair: Whether the last program failed and is to be repaired.
        is_first: Whether the only program is a signature and a docstring, of which the first version is asked for.
        builds_on_last: Whether the answer builds on the last version: it may then be edits of a long one.
        aim: What the new version does, in words; empty for doing better.
    """

    bodies: tuple[str, ...]
    notes: tuple[str, ...] = ()
    statement: str = ""
    has_system_message: bool = False
    packages: str = ""
    feedback: str = ""
    tried: str = ""
    instruction: str = ANY_IDEA
    is_best: bool = True
    shows_best: bool = False
    is_repair: bool = False
    is_first: bool = False
    builds_on_last: bool = True
    aim: str = ""


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """Result of parsing a completion: a body and its hash, or a verdict with the reason why there is none."""

    body: str = ""
    code_hash: str = ""
    verdict: Verdict | None = None


class Codec(Protocol):
    """Renders bodies as a prompt, and parses a body from a completion, for one kind of skeleton.

    A module with two functions is one. Every implementation passes `tests/contract/test_skeleton.py`.
    """

    def render(self, skeleton: Any, content: PromptContent, model: Model) -> str:
        """Return the prompt; for a chat model the user message.

        Args:
            skeleton: Skeleton of this kind.
            content: What it shows.
            model: The model that is sent the prompt.
        """
        ...

    def parse(self, text: str, skeleton: Any, shown: int, base: str) -> ParsedCompletion:
        """Return the body in a completion, or the verdict that there is none: `UNPARSABLE` or `REJECTED`.

        Args:
            text: Text of the completion, from an untrusted source.
            skeleton: Skeleton of this kind.
            shown: Number of programs in the prompt.
            base: Body of the best one, in which parts that the completion leaves out stay; empty for the start body.
        """
        ...


def codec_of(kind: str) -> Codec:
    """Return the codec of a kind of skeleton, which is `Skeleton.kind`."""
    return cast("Codec", import_module(f"overnight.tasks.sample.codecs.{kind}"))


def fill_template(template: str, content: PromptContent, skeleton: Skeleton, **variables: object) -> str:
    """Return a template filled in with a prompt's content, and what a kind of skeleton adds to it."""
    wanted = "" if content.has_system_message else content.statement or skeleton.docstring
    return templates().get_template(template).render(**vars(content), wanted=wanted, **variables)


@cache
def templates() -> SandboxedEnvironment:
    """Return the environment of the prompt templates."""
    return SandboxedEnvironment(
        loader=PackageLoader("overnight.tasks.sample"),
        undefined=StrictUndefined,
        auto_reload=False,  # else each prompt looks at the files of all its templates
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def unparsable(error: str) -> ParsedCompletion:
    return ParsedCompletion(verdict=Verdict(Outcome.UNPARSABLE, error=error))


def rejected(error: str) -> ParsedCompletion:
    return ParsedCompletion(verdict=Verdict(Outcome.REJECTED, error=error))


def readable(text: str) -> str:
    """Return a completion with plain line ends, and without the character that no parser takes."""
    return text.replace("\r\n", "\n").replace("\0", "")


def fence_for(text: str) -> str:
    """Return a fence for a code block that no line of its text closes."""
    return "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
