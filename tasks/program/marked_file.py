"""Read a file in any language whose blocks between marks evolve; without marks, the whole file evolves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import ClassVar, NoReturn

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.code_hash import code_hash_of
from overnight.schemas.errors import SpecificationError
from overnight.tasks.program import python_source
from overnight.tasks.program.meaning import meaning_hash
from overnight.tasks.program.scored_by_command import ScoredByCommand

START, END = "EVOLVE-BLOCK-START", "EVOLVE-BLOCK-END"
"""Marks in the lines that begin and end a block, AlphaEvolve's convention (Novikov et al., 2025, section 2.1)."""

_LANGUAGES = {
    **{".c": "c", ".cc": "cpp", ".cpp": "cpp", ".cs": "csharp", ".cu": "cuda", ".f90": "fortran", ".go": "go"},
    **{".hs": "haskell", ".java": "java", ".jl": "julia", ".js": "javascript", ".lua": "lua", ".ml": "ocaml"},
    **{".pl": "perl", ".py": "python", ".r": "r", ".rb": "ruby", ".rs": "rust", ".sh": "sh", ".sql": "sql"},
    **{".ts": "typescript", ".zig": "zig"},
}
"""Names of languages for fenced code blocks, by file suffix."""


@dataclass(frozen=True)
class MarkedFile(ScoredByCommand):
    """A valid file; a `Skeleton`.

    A body is the text between the marks. Several blocks are joined by the two mark lines between them in the file.

    Attributes:
        fixed: Fixed parts, including the mark lines: before the first block, between two blocks, after the last.
    """

    kind: ClassVar[str] = "file"

    name: str
    text: str
    fixed: tuple[str, ...]
    start_body: str

    @property
    def language(self) -> str:
        return _LANGUAGES.get(PurePath(self.name).suffix.lower(), "")

    @property
    def evolved_parts(self) -> str:
        return self.name

    @property
    def has_marks(self) -> bool:
        """Whether only the blocks between marks evolve, not the whole file."""
        return self.fixed != ("", "")

    @property
    def shape(self) -> str:
        """Number of the blocks, in which bodies of equal files agree."""
        blocks = len(self.fixed) - 1
        return f"{blocks} marked block{'s' * (blocks != 1)}"

    @property
    def start_program(self) -> ProgramBundle:
        return ProgramBundle(((self.name, self.text),))

    def program(self, body: str) -> ProgramBundle:
        return ProgramBundle(((self.name, self.with_body(body)),))

    def with_body(self, body: str) -> str:
        """Return the whole file with another body.

        A body with the wrong number of blocks is inserted whole as the first block.
        """
        blocks = split_blocks(body)
        if len(blocks) != len(self.fixed) - 1:
            blocks = [body, *[""] * (len(self.fixed) - 2)]
        parts = [self.fixed[0]]
        for block, fixed in zip(blocks, self.fixed[1:], strict=True):
            parts += [_with_line_end(block) if fixed else block, fixed]
        return "".join(parts)

    def function_text(self, body: str) -> str:
        return body

    def code_hash(self, body: str) -> str:
        """Return the hash of a body: of its syntax tree if it is Python, else of its text without blank lines and
        trailing spaces.
        """
        if self.language == "python":
            try:
                return python_source.code_hash(python_source.dedent(body))
            except python_source.SourceError:
                pass
        lines = [line.rstrip() for line in body.splitlines()]
        normalised = "\n".join(line for line in lines if line)
        return code_hash_of(normalised)

    def meaning_hash(self, body: str) -> str:
        """Return the hash of what the file means if it is Python; names may be used outside of the marks."""
        if self.language == "python":
            try:
                return meaning_hash(self.with_body(body))
            except python_source.SourceError:
                pass
        return self.code_hash(body)

    @cached_property
    def separators(self) -> tuple[str, ...]:
        """Mark lines between each two blocks of a body."""
        return tuple(_marks_only(fixed) for fixed in self.fixed[1:-1])

    def join(self, blocks: list[str]) -> str:
        parts = [_with_line_end(blocks[0])]
        for separator, block in zip(self.separators, blocks[1:], strict=True):
            parts += [separator, _with_line_end(block)]
        return "".join(parts).rstrip("\n")


def split_blocks(body: str) -> list[str]:
    blocks, inside = [""], True
    for line in body.splitlines(keepends=True):
        if END in line:
            inside = False
        elif START in line:
            inside = True
            blocks.append("")
        elif inside:
            blocks[-1] += line
    return blocks


def read_marked(text: str, name: str) -> MarkedFile:
    """Read a file; where it has marks, each needs its counterpart."""
    text = text if text.endswith("\n") else text + "\n"
    fixed, blocks = split_at_marks(text, name)
    if not blocks:
        return MarkedFile(name, text, ("", ""), text.rstrip("\n"))
    draft = MarkedFile(name, text, tuple(fixed), "")
    return MarkedFile(name, text, tuple(fixed), draft.join(blocks))


def split_at_marks(text: str, name: str) -> tuple[list[str], list[str]]:
    """Return the fixed parts of a text, with its mark lines, and the blocks between them; marks must alternate."""
    fixed, blocks, start_line = [""], [], 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        mark = START if START in line else END if END in line else None
        if mark == START and start_line:
            _refuse(f"{name}:{number}: the block begun in line {start_line} has no {END}")
        if mark == END and not start_line:
            _refuse(f"{name}:{number}: {END} without a {START} before it")
        if mark == START:
            fixed[-1] += line
            blocks.append("")
            start_line = number
        elif mark == END:
            fixed.append(line)
            start_line = 0
        elif start_line:
            blocks[-1] += line
        else:
            fixed[-1] += line
    if start_line:
        _refuse(f"{name}:{start_line}: {START} without an {END} after it", remedy="Add it.")
    return fixed, blocks


def _refuse(message: str, remedy: str = "Each block needs both marks, one after another.") -> NoReturn:
    # Message and remedy become part of stored verdicts, which a replay compares: do not reword them.
    raise SpecificationError(message, remedy=remedy)


def _marks_only(fixed: str) -> str:
    return "".join(line for line in fixed.splitlines(keepends=True) if re.search(f"{START}|{END}", line))


def _with_line_end(block: str) -> str:
    return block if block.endswith("\n") or not block else block + "\n"
