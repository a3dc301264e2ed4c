"""Mutates files of any language: changes numbers and operators, and takes lines from another version.

The operators are those of line-based genetic improvement (Langdon and Harman, IEEE Trans. Evol. Comput. 19(1), 2015:
delete, replace and insert lines), and a Gaussian step for numbers, as in evolution strategies.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from random import Random

from overnight.tasks.program import python_source
from overnight.tasks.sample.codecs import EARLIER_TRY, FENCE, LAST_TRY, fence_for
from overnight.tasks.sample.codecs.files import read_sections

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
_OPPOSITES = (("+", "-"), ("*", "/"), ("<", ">"), ("<=", ">="), ("==", "!="), ("min", "max"), ("&&", "||"))
_OPPOSITE = {**dict(_OPPOSITES), **{second: first for first, second in _OPPOSITES}}
_OPERATOR = re.compile(r"(?<=\s)(?:[-+*/<>]|[<>=!]=|&&|\|\|)(?=\s)|\b(?:min|max)\b")
_BEFORE_FEEDBACK = re.compile(rf"^(?:{re.escape(LAST_TRY)}|{re.escape(EARLIER_TRY)})$", re.MULTILINE)
_FILES = "\nAnswer with the files that you change."
_ATTEMPTS = 40
_P_MORE_CHANGES = 0.4

Operator = Callable[[list[str], list[str], Random], None]


def shows_a_file(prompt: str) -> bool:
    """Return whether a prompt asks for a file, not for a function of a specification."""
    return "\nAnswer with one code block that holds " in prompt


def mutate_lines(prompt: str, random: Random) -> str:
    """Return a new version of the file that a prompt shows, in a fenced block.

    The fenced blocks of the prompt are versions; the last and best one is in its file.
    """
    before_feedback = _BEFORE_FEEDBACK.split(prompt)[0]
    *earlier, file = FENCE.findall(before_feedback)
    base = _evolved_lines(file)
    donors = [block.splitlines() for block in earlier] or [base]
    return f"```\n{_mutated(base, donors, random, is_python='```python' in prompt)}\n```"


def shows_several_files(prompt: str) -> bool:
    """Return whether a prompt asks for files by their paths."""
    return _FILES in prompt


def mutate_files(prompt: str, random: Random) -> str:
    """Return a new version of one of the files that a prompt shows, in a fenced block below its path."""
    before_feedback = _BEFORE_FEEDBACK.split(prompt)[0]
    shown, _, _ = before_feedback.partition(_FILES)
    files = [section for section in read_sections(shown, ()) if section.path and section.text.strip()]
    if not files:
        return ""
    file = random.choice(files)
    donors = [_evolved_lines(other.text) for other in files]
    text = _mutated(_evolved_lines(file.text), donors, random, is_python=file.path.endswith(".py"))
    fence = fence_for(text)
    return f"{file.path}\n{fence}\n{text}\n{fence}"


def _evolved_lines(file: str) -> list[str]:
    """Return the lines from the first `EVOLVE-BLOCK-` mark to the last; all lines if there are no marks."""
    lines = file.splitlines()
    marks = [index for index, line in enumerate(lines) if "EVOLVE-BLOCK-" in line]
    return lines[marks[0] : marks[-1] + 1] if marks else lines


def _mutated(base: list[str], donors: list[list[str]], random: Random, *, is_python: bool) -> str:
    """Return a new version of some lines; the same lines if no attempt gives one that is still Python."""
    before = "\n".join(base)
    for _ in range(_ATTEMPTS):
        child, donor, is_done = list(base), random.choice(donors), False
        while not is_done:
            random.choice(_OPERATORS)(child, donor, random)
            is_done = random.random() >= _P_MORE_CHANGES
        text = "\n".join(child)
        if child != base and not (is_python and _is_broken_or_the_same(text, before)):
            return text
    return before


def _is_broken_or_the_same(text: str, base: str) -> bool:
    """Return whether a child of valid Python is not valid, or the same code."""
    before, after = _statements(base), _statements(text)
    return before is not None and (after is None or python_source.is_same_code(before, after))


def _statements(text: str) -> list[ast.stmt] | None:
    """Return the statements of a module; `None` if it is not valid Python."""
    try:
        return python_source.parse_shallow(python_source.dedent(text)).body
    except python_source.SourceError:
        return None


def _matching(lines: list[str], pattern: re.Pattern[str] | None = None) -> list[int]:
    """Return the indices of the lines that match a pattern, or are not empty, without marks of blocks."""
    return [
        index
        for index, line in enumerate(lines)
        if (pattern.search(line) if pattern else line.strip()) and "EVOLVE-BLOCK-" not in line
    ]


def _replace_one(lines: list[str], pattern: re.Pattern[str], new: Callable[[str], str], random: Random) -> None:
    """Replace a random match of a pattern in a random line."""
    if indices := _matching(lines, pattern):
        index = random.choice(indices)
        match = random.choice(list(pattern.finditer(lines[index])))
        lines[index] = lines[index][: match.start()] + new(match[0]) + lines[index][match.end() :]


def _change_number(lines: list[str], donor: list[str], random: Random) -> None:
    """Change a number by a random step, or replace it by another number."""
    others = [text for line in lines + donor for text in _NUMBER.findall(line)]
    is_stepped = random.random() < 0.8
    _replace_one(lines, _NUMBER, lambda old: _stepped(old, random) if is_stepped else random.choice(others), random)


def _stepped(text: str, random: Random) -> str:
    if text.isdigit():
        value = int(text)
        return str(max(0, value + random.choice((-1, 1)) * max(1, round(abs(random.gauss(0, 0.2)) * value))))
    value = float(text)
    return repr(float(f"{value * math.exp(random.gauss(0, 0.3)) if value else random.random():.6g}"))


def _replace_operator(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Replace an operator by its opposite."""
    _replace_one(lines, _OPERATOR, _OPPOSITE.__getitem__, random)


def _delete_line(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Delete a line, unless it is the only one."""
    indices = _matching(lines)
    if len(indices) > 1:
        del lines[random.choice(indices)]


def _copy_line(lines: list[str], donor: list[str], random: Random) -> None:
    """Insert a line of the other version before a line, or replace that line by it, with that line's indentation."""
    targets, sources = _matching(lines), _matching(donor)
    if targets and sources:
        index, line = random.choice(targets), donor[random.choice(sources)].strip()
        indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
        is_replaced = random.randrange(2)
        lines[index : index + is_replaced] = [indent + line]


_OPERATORS: tuple[Operator, ...] = (*[_change_number] * 3, _replace_operator, _delete_line, _copy_line, _copy_line)
"""The operators; changing a number is likelier, since the changed program most often still runs."""
