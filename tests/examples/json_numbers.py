"""A kind of skeleton: a flat JSON file of numbers, which evolve; their names stay.

In Overnight, it is a module of `tasks/program/`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.code_hash import code_hash_of
from overnight.tasks.program.scored_by_command import ScoredByCommand


@dataclass(frozen=True)
class Numbers(ScoredByCommand):
    """A file of numbers; a `Skeleton`.

    Attributes:
        name: Name of the file.
        text: The file, verbatim, which is also the body of the start program.
    """

    kind: ClassVar[str] = "numbers"

    name: str
    text: str

    @property
    def language(self) -> str:
        """Name of the language for fenced code blocks."""
        return "json"

    @property
    def start_body(self) -> str:
        """The file."""
        return self.text

    @property
    def start_program(self) -> ProgramBundle:
        """The file as a bundle."""
        return self.program(self.text)

    @property
    def evolved_parts(self) -> str:
        """Names of the numbers, for people."""
        return ", ".join(sorted(json.loads(self.text)))

    @property
    def shape(self) -> str:
        """The same names, in which bodies agree."""
        return self.evolved_parts

    def program(self, body: str) -> ProgramBundle:
        """Return the file with another body."""
        return ProgramBundle(((self.name, body),))

    def function_text(self, body: str) -> str:
        """Return the body itself."""
        return body

    def code_hash(self, body: str) -> str:
        """Return a hash that does not depend on order and blanks."""
        return code_hash_of(json.dumps(json.loads(body), sort_keys=True))
