"""Whether code reads as it runs: characters that hide or reverse it, and names that look like others."""

from __future__ import annotations

import io
import re
import tokenize
import unicodedata
from collections.abc import Iterator

from schemas.escaping import INVISIBLE, escape_invisible

_LOOKALIKES = str.maketrans(
    # Cyrillic, Greek, Armenian and Latin letters that most fonts draw as the ASCII letters below them. Small Greek
    # letters but omicron are left out: formulas are full of them.
    "асԁеһіјӏоԛрѕԝхуАВЕЅІЈКМНОРСТХУοΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսհոցıɑɡ",
    "acdehijloqpswxyABESIJKMHOPCTXYoABEZHIKMNOPTYXouhngiag",
)

_SCRIPTS = ("LATIN", "CYRILLIC", "ARMENIAN", "CHEROKEE", "HEBREW", "ARABIC")
"""Of which no name has letters of two. Greek is not among them: `Δt` is an honest name."""

_MICRO = "\N{MICRO SIGN}"
"""Runs as the Greek letter that it looks like."""

_NAME = re.compile(r"[^\W\d]\w*")
_TOLD = 5


def warning(code: str) -> str:
    """Return a sentence for the reader of some code; empty where it reads as it runs."""
    found = list(dict.fromkeys(misreadings(code)))
    if not found:
        return ""
    more = f"; and {len(found) - _TOLD} more" if len(found) > _TOLD else ""
    return f"this code does not read as it runs: {'; '.join(found[:_TOLD])}{more}"


def misreadings(code: str) -> Iterator[str]:
    """Tell, line by line, what a reader of the code would not see as it is."""
    for number, line in enumerate(code.split("\n"), start=1):
        for character in INVISIBLE.findall(line):
            name = unicodedata.name(character, "a control character")
            yield f"line {number} holds U+{ord(character):04X} ({name})"
    if not code.isascii():
        for number, name in _names(code):
            if said := _looks_otherwise(name):
                yield f"line {number}: the name {escape_invisible(name)} {said}"


def _names(code: str) -> Iterator[tuple[int, str]]:
    """The names in some code that are not ASCII, with their lines; of text that is no Python all its words."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
        found = [(token.start[0], token.string) for token in tokens if token.type == tokenize.NAME]
    except (tokenize.TokenError, SyntaxError, RecursionError):
        found = [(number, name) for number, line in enumerate(code.split("\n"), 1) for name in _NAME.findall(line)]
    return ((number, name) for number, name in found if not name.isascii())


def _looks_otherwise(name: str) -> str:
    """How a name misleads; empty if it does not."""
    runs_as = unicodedata.normalize("NFKC", name)
    if runs_as != name and name != _MICRO:
        return f"runs as {escape_invisible(runs_as)}"
    looks_like = name.translate(_LOOKALIKES)
    if looks_like != name and looks_like.isascii():
        return f"is not {looks_like}, which it looks like"
    first_words = {unicodedata.name(character, "").partition(" ")[0] for character in name}
    scripts = [script.capitalize() for script in _SCRIPTS if script in first_words]
    return f"mixes letters of {' and '.join(scripts)}" if len(scripts) > 1 else ""
