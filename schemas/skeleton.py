"""The interface of skeletons: the fixed part of a problem's programs, around the part that evolves."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.job import Call, Isolation


class Skeleton(Protocol):
    """A specification with its evolved functions, one file with marked blocks in any language, or several files.

    The term is from FunSearch (Romera-Paredes et al., Nature 625, 2023, "evolving a program skeleton"). The part that
    evolves is called a *body*; it is one text, whatever the kind of skeleton. Every implementation passes
    `tests/contract/test_skeleton.py`.

    Attributes:
        kind: Name of the kind of skeleton, by which `tasks/sample` finds its prompts and its parser.
    """

    kind: ClassVar[str]

    @property
    def text(self) -> str:
        """The start program as one text, which a run stores: the file verbatim, or the encoded bundle of several."""
        ...

    @property
    def start_body(self) -> str:
        """Body of the start program."""
        ...

    @property
    def start_program(self) -> ProgramBundle:
        """The start program: its files, verbatim."""
        ...

    @property
    def language(self) -> str:
        """Name of the language for fenced code blocks; empty if it is unknown, or there are several."""
        ...

    @property
    def docstring(self) -> str:
        """Description of the task in the skeleton itself; empty if there is none."""
        ...

    @property
    def evolved_parts(self) -> str:
        """Names of the parts that evolve, for people."""
        ...

    @property
    def shape(self) -> str:
        """Text that is equal for two skeletons if the bodies of one can be put into the other."""
        ...

    @property
    def run(self) -> str:
        """Name of the function that scores one input; empty if a command scores programs."""
        ...

    @property
    def scoring(self) -> str:
        """Code that scores programs, as prompts may show it; empty if a command does."""
        ...

    @property
    def draw(self) -> str:
        """Name of the function that is marked to draw; empty if there is none."""
        ...

    @property
    def generator(self) -> str:
        """Name of the function that is marked to return an input for a seed; empty if there is none."""
        ...

    @property
    def isolation(self) -> Isolation | None:
        """Data of an isolated evaluation; `None` if a command scores programs."""
        ...

    @property
    def is_stub(self) -> bool:
        """Whether a function that evolves is a signature and a docstring: without a score, it is no start program."""
        ...

    def defines(self, name: str) -> bool:
        """Return whether a function of this name could score programs."""
        ...

    def with_run(self, function: str) -> Skeleton:
        """Return the skeleton scored by another function, which it `defines`."""
        ...

    def call(self, item: Any, where: str) -> Call:
        """Return one input, named by `where` in messages, as a call.

        Raises:
            SpecificationError: If it does not fit the function that scores.
        """
        ...

    def program(self, body: str) -> ProgramBundle:
        """Return the whole program with another body."""
        ...

    def function_text(self, body: str) -> str:
        """Return a body in the form that people see."""
        ...

    def bare_text(self, body: str) -> str:
        """Return a body in the same form, without parts that all bodies share, such as a docstring."""
        ...

    def code_hash(self, body: str) -> str:
        """Return a hash that is equal for bodies which differ only in layout; see `code_hash_of`."""
        ...

    def meaning_hash(self, body: str) -> str:
        """Return a hash that is equal for bodies which differ only in form, as far as that is certain.

        Where the form of a body may matter, or its language is not known well enough, it is the `code_hash`.
        """
        ...
