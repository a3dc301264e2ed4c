"""Lines of Python source, as its parser counts them."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterator, Sequence

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""A line with its end, or the last one without."""


def split_lines(text: str, *, keepends: bool = False) -> list[str]:
    r"""Split a text where Python's parser does: at `\n`, `\r\n` and `\r`. `str.splitlines` splits at eight more."""
    lines = _LINE.findall(text)
    return lines if keepends else [line.rstrip("\r\n") for line in lines]


def indent(text: str, indentation: str) -> str:
    """Indent all lines that are not blank, as `textwrap.indent` does, but only lines that Python's parser sees."""
    lines = split_lines(text, keepends=True)
    return "".join(indentation + line if line.strip() else line for line in lines)


def tokens_of(lines: Sequence[str]) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens of lines."""
    ends = iter([re.sub(r"[\r\n]+$", "\n", line) for line in lines])
    return tokenize.generate_tokens(lambda: next(ends, ""))
