"""Shows code: highlighted as HTML, compared with another version of it, and with warnings where it misleads a reader.

Hidden or reversed text, and names that look like other names, do not read as they run.
"""

from __future__ import annotations

import difflib
import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from overnight.schemas.escaping import INVISIBLE, escape_invisible

_MAX_CHARS = 40_000
"""Characters of code that are shown; longer code comes from an untrusted source, and is cut and not highlighted."""

_MAX_WORDS = 400
"""Words of a line up to which single words are compared; the time grows at least with the square of their number."""

_WORDS = re.compile(r"\w+|\s+|.")


_LOOKALIKES = str.maketrans(
    # Cyrillic, Greek, Armenian and Latin letters that most fonts draw as the ASCII letters below them. Of the small
    # Greek letters only omicron is included, because the others are common in formulas.
    "асԁеһіјӏоԛрѕԝхуАВЕЅІЈКМНОРСТХУοΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսհոցıɑɡ",
    "acdehijloqpswxyABESIJKMHOPCTXYoABEZHIKMNOPTYXouhngiag",
)

_SCRIPTS = ("LATIN", "CYRILLIC", "ARMENIAN", "CHEROKEE", "HEBREW", "ARABIC")
"""Scripts that are not mixed in an honest name. Greek is missing, because names such as `Δt` are common."""

_MICRO = "\N{MICRO SIGN}"
"""Character that Python normalises to the Greek letter that it looks like, so that it does not mislead."""

_NAME = re.compile(r"[^\W\d]\w*")
_MAX_FINDINGS = 5


@dataclass(frozen=True, slots=True)
class Code:
    """Code and its HTML.

    Attributes:
        html: The code with everything escaped and classes for kinds of tokens; invisible characters are shown as
            Python escape sequences.
        warning: Why the code does not read as it runs; empty if it does.
    """

    text: str
    html: str
    warning: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a comparison of two versions.

    Attributes:
        kind: `same`, `removed`, `added`, or `gap` where lines are left out.
        pieces: Pieces of the line's text, each with whether it changed.
    """

    kind: str
    pieces: tuple[tuple[str, bool], ...]


def highlighted(text: str) -> Code:
    """Return Python code with its HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer, TextLexer

    lexer = PythonLexer() if len(text) <= _MAX_CHARS else TextLexer()
    html = highlight(escape_invisible(text[:_MAX_CHARS]), lexer, HtmlFormatter(nowrap=True))
    return Code(text, html, warning(text))


def unified_diff(old: str, new: str, old_name: str = "", new_name: str = "", context: int = 3) -> list[str]:
    """Return the lines of a unified_diff diff; empty if the texts are equal."""
    # Lines end at "\n" only: all other line separators are part of the code and must be visible.
    old_lines, new_lines = (text.removesuffix("\n").split("\n") if text else [] for text in (old, new))
    return list(difflib.unified_diff(old_lines, new_lines, old_name, new_name, lineterm="", n=context))


_KINDS = {"@": "gap", "-": "removed", "+": "added", " ": "same"}


def diff_lines(old: str, new: str) -> list[DiffLine]:
    """Return the lines of a diff; changed words are marked where a block is replaced by one of as many lines."""
    lines = unified_diff(escape_invisible(old), escape_invisible(new))[2:]
    blocks = [(kind, [line[1:] for line in block]) for kind, block in groupby(lines, key=lambda line: _KINDS[line[0]])]
    shown: list[DiffLine] = []
    for (kind, block), (kind_after, after) in zip(blocks, [*blocks, ("", [])][1:], strict=True):
        if kind == "gap":
            shown += [DiffLine("gap", (("⋯", False),))] if shown else []
        elif kind == "removed" and kind_after == "added" and len(after) == len(block):
            pairs = [_pieces(old_line, new_line) for old_line, new_line in zip(block, after, strict=True)]
            shown += [DiffLine("removed", old_pieces) for old_pieces, _ in pairs]
            shown += [DiffLine("added", new_pieces) for _, new_pieces in pairs]
        elif kind == "added" and shown and shown[-1].kind == "added":
            continue  # already shown together with the block that it replaces
        else:
            shown += [DiffLine(kind, ((line, False),)) for line in block]
    return shown


def _pieces(old: str, new: str) -> tuple[tuple[tuple[str, bool], ...], tuple[tuple[str, bool], ...]]:
    """Return the pieces of an old line and of the line that replaces it, each with whether it changed."""
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    if max(len(before), len(after)) > _MAX_WORDS:
        before, after = [old], [new]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    steps = matcher.get_opcodes()
    return (
        tuple(("".join(before[a:b]), tag != "equal") for tag, a, b, _, _ in steps if b > a),
        tuple(("".join(after[c:d]), tag != "equal") for tag, _, _, c, d in steps if d > c),
    )


def warning(code: str) -> str:
    """Return a warning for readers of some code; empty if the code reads as it runs."""
    found = list(dict.fromkeys(misreadings(code)))
    if not found:
        return ""
    more = f"; and {len(found) - _MAX_FINDINGS} more" if len(found) > _MAX_FINDINGS else ""
    return f"this code does not read as it runs: {'; '.join(found[:_MAX_FINDINGS])}{more}"


def misreadings(code: str) -> Iterator[str]:
    """Yield a description, with its line, of everything in the code that misleads a reader."""
    for number, line in enumerate(code.split("\n"), start=1):
        for character in INVISIBLE.findall(line):
            name = unicodedata.name(character, "a control character")
            yield f"line {number} holds U+{ord(character):04X} ({name})"
    if not code.isascii():
        for number, name in _names(code):
            if problem := _misleading_by(name):
                yield f"line {number}: the name {escape_invisible(name)} {problem}"


def _names(code: str) -> Iterator[tuple[int, str]]:
    """Return the non-ASCII names in some code, with their lines; if the code does not parse, all such words."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
        found = [(token.start[0], token.string) for token in tokens if token.type == tokenize.NAME]
    except (tokenize.TokenError, SyntaxError, RecursionError):
        found = [(number, name) for number, line in enumerate(code.split("\n"), 1) for name in _NAME.findall(line)]
    return ((number, name) for number, name in found if not name.isascii())


def _misleading_by(name: str) -> str:
    """Return how a name misleads a reader; empty if it does not."""
    runs_as = unicodedata.normalize("NFKC", name)
    if runs_as != name and name != _MICRO:
        return f"runs as {escape_invisible(runs_as)}"
    looks_like = name.translate(_LOOKALIKES)
    if looks_like != name and looks_like.isascii():
        return f"is not {looks_like}, which it looks like"
    first_words = {unicodedata.name(character, "").partition(" ")[0] for character in name}
    scripts = [script.capitalize() for script in _SCRIPTS if script in first_words]
    return f"mixes letters of {' and '.join(scripts)}" if len(scripts) > 1 else ""
