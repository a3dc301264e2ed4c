"""The interface of skeletons: the fixed part of a problem's programs, around the part that evolves."""

from __future__ import annotations

from typing import Protocol


class Skeleton(Protocol):
    """A specification with its evolved functions, or a file in any language with marked blocks.

    The term is from FunSearch (Romera-Paredes et al., Nature 625, 2023, "evolving a program skeleton"). The part that
    evolves is called a *body*.
    """

    @property
    def text(self) -> str:
        """The file, verbatim, which is the start program."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        ...

    @property
    def start_body(self) -> str:
        """Body of the start program."""
        ...

    def with_body(self, body: str) -> str:
        """Return the whole program with another body."""
        ...

    def function_text(self, body: str) -> str:
        """Return a body in the form that people see."""
        ...

    def bare_text(self, body: str) -> str:
        """Return a body in the same form, without parts that all bodies share, such as a docstring."""
        ...

    def code_hash(self, body: str) -> str:
        """Return 16 hex digits that are equal for bodies which differ only in layout."""
        ...
