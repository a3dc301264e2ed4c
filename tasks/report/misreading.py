"""Finds code that does not read as it runs: hidden or reversed text, and names that look like other names."""

from __future__ import annotations

import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator

from schemas.escaping import UNSEEN, escape_invisible

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
        for character in UNSEEN.findall(line):
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
