"""Lines of Python source, as its parser counts them, and string literals that survive a change of indentation."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
"""A line with its end, or the last one without."""

_STRING = re.compile(r"(?P<prefix>[a-zA-Z]*)(?P<quote>\"\"\"|'''|\"|')(?P<content>.*)(?P=quote)", re.DOTALL)
"""A string literal."""

_ESCAPED = re.compile(r"\\\n|\\.|[\n\t\f]", re.DOTALL)

_ESCAPES = {"\\\n": "", "\\\t": r"\\\t", "\\\f": r"\\\f", "\n": r"\n", "\t": r"\t", "\f": r"\f"}
"""Escapes for the parts of a literal that `_ESCAPED` finds; others stay."""

_BEGINS = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")} - {-1}
_ENDS = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")} - {-1}
"""Kinds of tokens around a formatted string, which is one token before Python 3.12."""

_LAYOUT = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}
"""Kinds of tokens that are no part of a statement."""


def split_lines(text: str, *, keepends: bool = False) -> list[str]:
    r"""Split a text where Python's parser does: at `\n`, `\r\n` and `\r`. `str.splitlines` splits at eight more."""
    lines = _LINE.findall(text)
    return lines if keepends else [line.rstrip("\r\n") for line in lines]


def indent(text: str, indentation: str) -> str:
    """Indent all lines that are not blank, as `textwrap.indent` does, but only lines that Python's parser sees."""
    lines = split_lines(text, keepends=True)
    return "".join(indentation + line if line.strip() else line for line in lines)


def tokens_of(lines: Sequence[str]) -> Iterator[tokenize.TokenInfo]:
    ends = iter([re.sub(r"[\r\n]+$", "\n", line) for line in lines])
    return tokenize.generate_tokens(lambda: next(ends, ""))


def escape_strings(text: str, is_needed: Callable[[str], bool] = bool) -> str:
    """Write line ends and tabs in string literals as escapes, so that no change of indentation changes the strings.

    Strings that are statements, such as docstrings, stay, and so does what follows the first place that is no Python.
    """
    text = re.sub(r"\r\n?", "\n", text)
    parts, place = list[str](), 0
    for start, end in _value_strings(text):
        literal = text[start:end]
        if re.search(r"[\n\t\f]", literal) and is_needed(literal):
            parts += [text[place:start], _escaped(literal)]
            place = end
    return "".join([*parts, text[place:]])


def has_blank_line(literal: str) -> bool:
    """Return whether a line within a literal has nothing but spaces and tabs, which dedenting would remove."""
    return re.search(r"\n[ \t]+\n", literal) is not None


def _value_strings(text: str) -> list[tuple[int, int]]:
    """Return the begin and the end of each string literal that is not a statement."""
    lines = split_lines(text, keepends=True)
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    spans, depth, start = list[tuple[int, int]](), 0, 0
    tokens = [token for token in _tokens_to_first_error(lines) if token.type not in _LAYOUT]
    for number, token in enumerate(tokens):
        if token.type == tokenize.STRING or token.type in _BEGINS:
            start = start if depth else offsets[token.start[0] - 1] + token.start[1]
            depth += token.type in _BEGINS
        depth -= token.type in _ENDS
        is_end = token.type == tokenize.STRING or token.type in _ENDS
        if is_end and depth == 0 and not _is_statement(tokens, number):
            spans.append((start, offsets[token.end[0] - 1] + token.end[1]))
    return spans


def _is_statement(tokens: Sequence[tokenize.TokenInfo], number: int) -> bool:
    """Return whether a plain string stands alone between two ends of lines."""
    ends = (tokenize.NEWLINE, tokenize.ENDMARKER)
    is_first = number == 0 or tokens[number - 1].type in ends
    is_last = number + 1 == len(tokens) or tokens[number + 1].type in ends
    return tokens[number].type == tokenize.STRING and is_first and is_last


def _tokens_to_first_error(lines: Sequence[str]) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokens_of(lines)
    except (tokenize.TokenError, SyntaxError, ValueError):
        return


def _escaped(literal: str) -> str:
    """Return a literal of the same value on one line; the literal itself if that takes more than escapes."""
    found = _STRING.fullmatch(literal)
    if found is None:
        return literal
    prefix, quote, content = found["prefix"], found["quote"], found["content"]
    is_format, is_raw = bool(re.search("[fFtT]", prefix)), bool(re.search("[rR]", prefix))
    if is_raw and not is_format:
        return repr(ast.literal_eval(literal))
    if is_format and (_has_layout_in_braces(content) or (is_raw and re.search(r"\\[\"']", content))):
        return literal
    content = content.replace("\\", r"\\") if is_raw else content
    escaped = _ESCAPED.sub(lambda part: _ESCAPES.get(part[0], part[0]), content)
    return f"{re.sub('[rR]', '', prefix)}{quote}{escaped}{quote}"


def _has_layout_in_braces(content: str) -> bool:
    """Return whether an expression in a formatted string has a line end, a tab or a backslash."""
    depth = 0
    for char in content.replace("{{", "").replace("}}", ""):
        depth += (char == "{") - (char == "}")
        if depth and char in "\n\t\f\\":
            return True
    return False
