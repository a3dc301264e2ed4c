"""The files of a whole program, or the bodies of its evolving files, as plain data: path → text.

A history stores one text for each program. `ProgramBundle.encode` makes one text of several files, and `decode` reads
it back. The line above each file says how many lines follow, so that no text of a file can end it or begin another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import HIDDEN_REMEDY, File, is_hidden, require_distinct

MAX_FILES = 100
"""Limit on the number of evolving files of a problem."""

_HEADER = re.compile(r"=== (.+), ([1-9][0-9]{0,8}) lines ===")

_REMEDY = "Restore the run from another copy."


@dataclass(frozen=True, slots=True)
class ProgramBundle:
    """The files of one program that evolve.

    Attributes:
        files: Path and text of each file; the first one is the file that a command is given as `{program}`. Paths are
            relative, with slashes, and stay inside of any folder that the files are written to.
        name: `code_hash` of the candidate that it is; empty if it is none.

    Raises:
        SpecificationError: If there is no file, there are too many, or a path is hidden, leads outside, or is there
            twice.
    """

    files: tuple[tuple[str, str], ...]
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.files) <= MAX_FILES:
            raise SpecificationError(
                f"got {len(self.files)} evolving files, expected 1 to {MAX_FILES}",
                remedy="Name fewer files in `command.program`; files that do not evolve are named in `files`.",
            )
        require_distinct([File(path, b"") for path in self.paths])
        for path in self.paths:
            if is_hidden(PurePath(path)):
                raise SpecificationError(f"{path!r} is hidden", remedy=HIDDEN_REMEDY)

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all files, in order."""
        return tuple(path for path, _ in self.files)

    @property
    def main(self) -> str:
        return self.files[0][1]

    @property
    def chars(self) -> int:
        """Length of all texts together, characters."""
        return sum(len(text) for _, text in self.files)

    @property
    def shown(self) -> str:
        """One text of all files for people: the only file as it is, or each below a line with its path."""
        if len(self.files) == 1:
            return self.main
        return "\n\n".join(f"# === {path} ===\n{text.rstrip()}" for path, text in self.files) + "\n"

    def encode(self) -> str:
        """Return all files as one text, from which `decode` reads them back exactly."""
        lines: list[str] = []
        for path, text in self.files:
            content = text.split("\n")
            lines += [f"=== {path}, {len(content)} lines ===", *content]
        return "\n".join(lines)

    @classmethod
    def decode(cls, text: str) -> ProgramBundle:
        """Read the files of a text that `encode` made.

        Raises:
            SpecificationError: If the text is not exactly of that form, or a path is not safe.
        """
        lines, files, place = text.split("\n"), list[tuple[str, str]](), 0
        while place < len(lines):
            header = _HEADER.fullmatch(lines[place])
            end = place + 1 + (int(header[2]) if header else 0)
            if header is None or end > len(lines):
                raise SpecificationError(
                    f"line {place + 1} of a stored program does not begin one of its files", remedy=_REMEDY
                )
            files.append((header[1], "\n".join(lines[place + 1 : end])))
            place = end
        return cls(tuple(files))

    def replace(self, texts: Mapping[str, str]) -> ProgramBundle:
        """Return the same files with other texts for some of them, by path."""
        return ProgramBundle(tuple((path, texts.get(path, text)) for path, text in self.files))


Source = ProgramBundle | str
"""A whole program, as a sandbox takes it: a bundle, or the text of its only file."""
