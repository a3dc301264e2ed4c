"""What every program of a problem shares: the part that is fixed, around the part that evolves."""

from __future__ import annotations

from typing import Protocol


class Skeleton(Protocol):
    """A specification with its evolved function, or a file of any language with marked blocks.

    FunSearch's word (Romera-Paredes et al., Nature 625, 2023, "evolving a program skeleton"). What evolves is a *body*.
    """

    @property
    def text(self) -> str:
        """The file, verbatim: the start program."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        ...

    @property
    def start_body(self) -> str:
        """What evolves, as the file has it."""
        ...

    def with_body(self, body: str) -> str:
        """The whole program with another body."""
        ...

    def function_text(self, body: str) -> str:
        """A body as it is shown to people."""
        ...

    def bare_text(self, body: str) -> str:
        """The same without what all bodies share, such as a docstring."""
        ...

    def code_hash(self, body: str) -> str:
        """16 hex digits that agree for bodies which differ only in layout."""
        ...
