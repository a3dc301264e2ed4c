"""Mutation of a file of any language: numbers change, lines and pieces of lines come from another version.

The operators are those of line-based genetic improvement (Langdon and Harman, IEEE Trans. Evol. Comput. 19(1), 2015:
delete, replace, insert and swap lines), and a Gaussian step for numbers, as in evolution strategies.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from random import Random

from schemas import source
from tasks.sample.feedback import LAST_TRY
from tasks.sample.parsing.parsed import FENCE

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
_OPERATORS = (("+", "-"), ("*", "/"), ("<", ">"), ("<=", ">="), ("==", "!="), ("min", "max"), ("&&", "||"))
_ATTEMPTS = 40
_MORE_CHANGES = 0.4
_NUMBERS = 3
"""So many times as likely as another operator is a step of a number: it most often leaves a program that runs."""

Operator = Callable[[list[str], list[str], Random], None]


def shows_a_file(prompt: str) -> bool:
    """Whether a prompt is about a file, not about a function of a specification."""
    return "\nAnswer with one code block that holds " in prompt


def mutate_lines(prompt: str, random: Random) -> str:
    """Answers a prompt that shows versions of a file with one more, in a fenced block.

    Args:
        prompt: Its fenced blocks are the versions, the last and best one in its file.
        random: Everything random.
    """
    shown, _, _ = prompt.partition(f"\n{LAST_TRY}\n")
    *earlier, file = FENCE.findall(shown)
    base = _inside(file)
    donors = [block.splitlines() for block in earlier] or [base]
    is_python = "```python" in prompt
    for _ in range(_ATTEMPTS):
        child = _child(base, random.choice(donors), random)
        text = "\n".join(child)
        if child != base and not (is_python and _is_broken_or_the_same(text, "\n".join(base))):
            return f"```\n{text}\n```"
    return f"```\n{chr(10).join(base)}\n```"


def _inside(file: str) -> list[str]:
    """The lines from the first mark to the last, or all where there are none."""
    lines = file.splitlines()
    marks = [place for place, line in enumerate(lines) if "EVOLVE-BLOCK-" in line]
    return lines[marks[0] : marks[-1] + 1] if marks else lines


def _child(base: list[str], donor: list[str], random: Random) -> list[str]:
    child = list(base)
    while True:
        random.choice(_OPERATORS_OF_LINES)(child, donor, random)
        if random.random() >= _MORE_CHANGES:
            return child


def _is_broken_or_the_same(text: str, base: str) -> bool:
    """Whether it is no Python where its parent is, or the same but for comments and docstrings."""
    before, after = _program(base), _program(text)
    return bool(before) and after in ("", before)


def _program(text: str) -> str:
    """A module without what is for readers; empty if it is no Python."""
    try:
        return ast.dump(_Wordless().visit(source.parse_shallow(source.dedent(text))))
    except source.SourceError:
        return ""


class _Wordless(ast.NodeTransformer):
    """Drops docstrings and other constants that nothing is done with."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def _places(lines: list[str], pattern: str = r"\S") -> list[int]:
    return [place for place, line in enumerate(lines) if re.search(pattern, line) and "EVOLVE-BLOCK-" not in line]


def _step(lines: list[str], donor: list[str], random: Random) -> None:
    """One number takes a step, or another number's value."""
    places = _places(lines, _NUMBER.pattern)
    if not places:
        return
    place = random.choice(places)
    match = random.choice(list(_NUMBER.finditer(lines[place])))
    others = [text for line in lines + donor for text in _NUMBER.findall(line)]
    new = random.choice(others) if random.random() < 0.2 else _stepped(match[0], random)
    lines[place] = lines[place][: match.start()] + new + lines[place][match.end() :]


def _stepped(text: str, random: Random) -> str:
    if text.isdigit():
        value = int(text)
        return str(max(0, value + random.choice((-1, 1)) * max(1, round(abs(random.gauss(0, 0.2)) * value))))
    value = float(text)
    new = value * math.exp(random.gauss(0, 0.3)) if value else random.random()
    return f"{new:.6g}" if "e" in f"{new:.6g}" or "." in f"{new:.6g}" else f"{new:.6g}.0"


def _turn(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """One operator becomes its opposite."""
    one, other = random.choice(_OPERATORS)
    if random.random() < 0.5:
        one, other = other, one
    pattern = rf"(?<=\s){re.escape(one)}(?=\s)" if not one.isalpha() else rf"\b{one}\b"
    places = _places(lines, pattern)
    if places:
        place = random.choice(places)
        match = random.choice(list(re.finditer(pattern, lines[place])))
        lines[place] = lines[place][: match.start()] + other + lines[place][match.end() :]


def _delete(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    places = _places(lines)
    if len(places) > 1:
        del lines[random.choice(places)]


def _swap(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Two lines of the same indentation change places."""
    places = _places(lines)
    if len(places) < 2:
        return
    one = random.choice(places)
    others = [place for place in places if place != one and _indent(lines[place]) == _indent(lines[one])]
    if others:
        other = random.choice(others)
        lines[one], lines[other] = lines[other], lines[one]


def _take(lines: list[str], donor: list[str], random: Random) -> None:
    """A line of the other version comes in, in place of one or before it, with that one's indentation."""
    mine, theirs = _places(lines), _places(donor)
    if mine and theirs:
        place, line = random.choice(mine), donor[random.choice(theirs)].strip()
        new = _indent(lines[place]) + line
        lines[place : place + random.randrange(2)] = [new]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


_OPERATORS_OF_LINES: tuple[Operator, ...] = (*[_step] * _NUMBERS, _turn, _delete, _swap, _take, _take)
