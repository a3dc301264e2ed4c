"""A whole file of any language, of which the blocks between marks evolve; all of it, where there are no marks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from schemas import source
from schemas.errors import SpecificationError

START, END = "EVOLVE-BLOCK-START", "EVOLVE-BLOCK-END"
"""A line that holds one is a mark; AlphaEvolve's convention (Novikov et al., 2025, section 2.1)."""

_LANGUAGES = {
    **{".c": "c", ".cc": "cpp", ".cpp": "cpp", ".cs": "csharp", ".cu": "cuda", ".f90": "fortran", ".go": "go"},
    **{".hs": "haskell", ".java": "java", ".jl": "julia", ".js": "javascript", ".lua": "lua", ".ml": "ocaml"},
    **{".pl": "perl", ".py": "python", ".r": "r", ".rb": "ruby", ".rs": "rust", ".sh": "sh", ".sql": "sql"},
    **{".ts": "typescript", ".zig": "zig"},
}
"""Names of languages in fenced blocks, by file suffix."""


@dataclass(frozen=True)
class MarkedFile:
    """A file that was read and found right; a `Skeleton`.

    A body is what stands between the marks. Where there are several blocks, they are joined by the two mark lines that
    stand between them in the file.

    Attributes:
        name: The file's name.
        text: The file, verbatim.
        fixed: What never changes, mark lines included: before the first block, between two, after the last.
        start_body: What stands between the marks.
    """

    name: str
    text: str
    fixed: tuple[str, ...]
    start_body: str

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def language(self) -> str:
        """As a fenced block names it; empty if the suffix is unknown."""
        return _LANGUAGES.get(PurePath(self.name).suffix.lower(), "")

    def with_body(self, body: str) -> str:
        """The whole file with another body; one with too few or too many blocks is put in as it is."""
        blocks = split_blocks(body)
        if len(blocks) != len(self.fixed) - 1:
            blocks = [body, *[""] * (len(self.fixed) - 2)]
        parts = [self.fixed[0]]
        for block, fixed in zip(blocks, self.fixed[1:], strict=True):
            parts += [_closed(block) if fixed else block, fixed]
        return "".join(parts)

    def function_text(self, body: str) -> str:
        return body

    def bare_text(self, body: str) -> str:
        return body

    def code_hash(self, body: str) -> str:
        """Of the syntax tree where it is Python; else of the text without blank lines and spaces at the ends."""
        if self.language == "python":
            try:
                return source.code_hash(source.dedent(body))
            except source.SourceError:
                pass
        lines = [line.rstrip() for line in body.splitlines()]
        normal = "\n".join(line for line in lines if line)
        return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def separators(self) -> tuple[str, ...]:
        """The mark lines that stand between two blocks of a body."""
        return tuple(_marks_only(fixed) for fixed in self.fixed[1:-1])

    def join(self, blocks: list[str]) -> str:
        """The body that consists of these blocks."""
        parts = [_closed(blocks[0])]
        for separator, block in zip(self.separators, blocks[1:], strict=True):
            parts += [separator, _closed(block)]
        return "".join(parts).rstrip("\n")


def split_blocks(body: str) -> list[str]:
    """The blocks of a body."""
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
    """Reads a file with marks.

    Args:
        text: The file's text.
        name: Its name.

    Raises:
        SpecificationError: If a mark is missing.
    """
    text = text if text.endswith("\n") else text + "\n"
    fixed, blocks = cut(text, name)
    if not blocks:
        return MarkedFile(name, text, ("", ""), text.rstrip("\n"))
    draft = MarkedFile(name, text, tuple(fixed), "")
    return MarkedFile(name, text, tuple(fixed), draft.join(blocks))


def cut(text: str, name: str) -> tuple[list[str], list[str]]:
    """A text cut at its marks: what is fixed, mark lines included, and the blocks in between.

    Raises:
        SpecificationError: If the marks do not alternate.
    """
    fixed, blocks, begun = [""], [], 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        mark = START if START in line else END if END in line else None
        if mark and (mark == START) == bool(begun):
            what = f"the block begun in line {begun} has no {END}" if begun else f"{END} without a {START} before it"
            raise SpecificationError(
                f"{name}:{number}: {what}", remedy="Each block needs both marks, one after another."
            )
        if mark == START:
            fixed[-1] += line
            blocks.append("")
            begun = number
        elif mark == END:
            fixed.append(line)
            begun = 0
        elif begun:
            blocks[-1] += line
        else:
            fixed[-1] += line
    if begun:
        raise SpecificationError(f"{name}:{begun}: {START} without an {END} after it", remedy="Add it.")
    return fixed, blocks


def _marks_only(fixed: str) -> str:
    return "".join(line for line in fixed.splitlines(keepends=True) if re.search(f"{START}|{END}", line))


def _closed(block: str) -> str:
    return block if block.endswith("\n") or not block else block + "\n"
