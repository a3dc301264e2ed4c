"""Programs on paper: Python in colours, and what a step changed, line by line and word by word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from schemas.escaping import escape_invisible
from tasks.report.misreading import warning

_MOST_CHARS = 40_000
"""Longer code is shown without colours and cut: it is a stranger's."""

_MOST_WORDS = 400
"""Of a line; of longer ones no words are compared, which takes the square of their number and more."""

_WORDS = re.compile(r"\w+|\s+|.")


@dataclass(frozen=True, slots=True)
class Code:
    """Code and its HTML, in which everything is escaped and classes name the kinds of tokens.

    Attributes:
        text: The code.
        html: The code as it is shown; characters that nobody would see as Python writes them.
        warning: How it does not read as it runs; empty if it does.
    """

    text: str
    html: str
    warning: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference.

    Attributes:
        kind: `same`, `removed`, `added`, or `gap` where lines are left out.
        pieces: Its text in pieces, each with whether it is what changed in the line.
    """

    kind: str
    pieces: tuple[tuple[str, bool], ...]


def coloured(text: str) -> Code:
    """Python as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer, TextLexer

    lexer = PythonLexer() if len(text) <= _MOST_CHARS else TextLexer()
    html = highlight(escape_invisible(text[:_MOST_CHARS]), lexer, HtmlFormatter(nowrap=True))
    return Code(text, html, warning(text))


def unified(old: str, new: str, old_name: str = "", new_name: str = "", context: int = 3) -> list[str]:
    """The difference in the unified format, line by line; empty if there is none."""
    # At "\n" alone: other ends of lines are part of the code, and are to be seen.
    old_lines, new_lines = (text.removesuffix("\n").split("\n") if text else [] for text in (old, new))
    return list(difflib.unified_diff(old_lines, new_lines, old_name, new_name, lineterm="", n=context))


def difference(old: str, new: str) -> list[DiffLine]:
    """The difference, with the words that changed where as many lines stand for as many others."""
    lines = unified(escape_invisible(old), escape_invisible(new))[2:]
    told: list[DiffLine] = []
    for place, kind, block in _blocks(lines):
        if kind == "gap":
            told += [DiffLine("gap", (("⋯", False),))] if place else []
        elif kind == "removed" and len(after := _block_at(lines, place + len(block), "added")) == len(block):
            pairs = [_pieces(before, later) for before, later in zip(block, after, strict=True)]
            told += [DiffLine("removed", before) for before, _ in pairs]
            told += [DiffLine("added", later) for _, later in pairs]
        elif kind == "added" and told and told[-1].kind == "added":
            continue
        else:
            told += [DiffLine(kind, ((line, False),)) for line in block]
    return told


_KINDS = {"@": "gap", "-": "removed", "+": "added", " ": "same"}


def _blocks(lines: Sequence[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Runs of lines of one kind: where each begins, the kind, the lines without their mark."""
    place = 0
    while place < len(lines):
        kind = _KINDS[lines[place][0]]
        block = _block_at(lines, place, kind)
        yield place, kind, block
        place += len(block)


def _block_at(lines: Sequence[str], place: int, kind: str) -> list[str]:
    block = []
    while place < len(lines) and _KINDS[lines[place][0]] == kind:
        block.append(lines[place][1:])
        place += 1
    return block


def _pieces(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    if max(len(before), len(after)) > _MOST_WORDS:
        before, after = [old], [new]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    steps = matcher.get_opcodes()
    return (
        tuple(("".join(before[a:b]), tag != "equal") for tag, a, b, _, _ in steps if b > a),
        tuple(("".join(after[c:d]), tag != "equal") for tag, _, _, c, d in steps if d > c),
    )
