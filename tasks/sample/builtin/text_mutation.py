"""Mutates files of any language: changes numbers and operators, and takes lines from another version.

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
from tasks.sample.parsing.parsed import FENCE, fence_for
from tasks.sample.parsing.sections import read_sections

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:[eE][-+]?\d+)?(?![\w.])")
_OPPOSITES = (("+", "-"), ("*", "/"), ("<", ">"), ("<=", ">="), ("==", "!="), ("min", "max"), ("&&", "||"))
_ATTEMPTS = 40
_P_MORE_CHANGES = 0.4
_NUMBER_WEIGHT = 3
"""Weight of changing a number, relative to the other operators; the changed program most often still runs."""

Operator = Callable[[list[str], list[str], Random], None]


def shows_a_file(prompt: str) -> bool:
    """Return whether a prompt asks for a file, not for a function of a specification."""
    return "\nAnswer with one code block that holds " in prompt


def mutate_lines(prompt: str, random: Random) -> str:
    """Return a new version of the file that a prompt shows, in a fenced block.

    Args:
        prompt: A prompt whose fenced blocks are versions; the last and best one is in its file.
        random: Source of all random choices.
    """
    before_feedback, _, _ = prompt.partition(f"\n{LAST_TRY}\n")
    *earlier, file = FENCE.findall(before_feedback)
    base = _evolved_lines(file)
    donors = [block.splitlines() for block in earlier] or [base]
    return f"```\n{_mutated(base, donors, random, is_python='```python' in prompt)}\n```"


def shows_several_files(prompt: str) -> bool:
    """Return whether a prompt asks for files by their paths."""
    return "\nAnswer with the files that you change." in prompt


def mutate_files(prompt: str, random: Random) -> str:
    """Return a new version of one of the files that a prompt shows, in a fenced block below its path.

    Args:
        prompt: A prompt with the best version of several files.
        random: Source of all random choices.
    """
    before_feedback, _, _ = prompt.partition(f"\n{LAST_TRY}\n")
    shown, _, _ = before_feedback.partition("\nAnswer with the files that you change.")
    files = [section for section in read_sections(shown, ()) if section.path and section.text.strip()]
    if not files:
        return ""
    file = random.choice(files)
    base = _evolved_lines(file.text)
    donors = [_evolved_lines(other.text) for other in files]
    text = _mutated(base, donors, random, is_python=file.path.endswith(".py"))
    fence = fence_for(text)
    return f"{file.path}\n{fence}\n{text}\n{fence}"


def _mutated(base: list[str], donors: list[list[str]], random: Random, *, is_python: bool) -> str:
    """Return a new version of some lines; the same lines if no attempt gives one that is still Python."""
    for _ in range(_ATTEMPTS):
        child = _child(base, random.choice(donors), random)
        text = "\n".join(child)
        if child != base and not (is_python and _is_broken_or_the_same(text, "\n".join(base))):
            return text
    return "\n".join(base)


def _evolved_lines(file: str) -> list[str]:
    """Return the lines from the first `EVOLVE-BLOCK-` mark to the last; all lines if there are no marks."""
    lines = file.splitlines()
    marks = [index for index, line in enumerate(lines) if "EVOLVE-BLOCK-" in line]
    return lines[marks[0] : marks[-1] + 1] if marks else lines


def _child(base: list[str], donor: list[str], random: Random) -> list[str]:
    child = list(base)
    while True:
        random.choice(_OPERATORS)(child, donor, random)
        if random.random() >= _P_MORE_CHANGES:
            return child


def _is_broken_or_the_same(text: str, base: str) -> bool:
    """Return whether a child of valid Python is not valid, or equal up to comments and docstrings."""
    before, after = _dump(base), _dump(text)
    return bool(before) and after in ("", before)


def _dump(text: str) -> str:
    """Return a dump of a module without comments and docstrings; empty if it is not valid Python."""
    try:
        return ast.dump(_DocstringRemover().visit(source.parse_shallow(source.dedent(text))))
    except source.SourceError:
        return ""


class _DocstringRemover(ast.NodeTransformer):
    """Transformer that drops docstrings and other constants that are statements."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def _matching(lines: list[str], pattern: str = r"\S") -> list[int]:
    """Return the indices of the lines that match a pattern, without marks of blocks."""
    return [index for index, line in enumerate(lines) if re.search(pattern, line) and "EVOLVE-BLOCK-" not in line]


def _change_number(lines: list[str], donor: list[str], random: Random) -> None:
    """Change a number by a random step, or replace it by another number."""
    indices = _matching(lines, _NUMBER.pattern)
    if not indices:
        return
    index = random.choice(indices)
    match = random.choice(list(_NUMBER.finditer(lines[index])))
    others = [text for line in lines + donor for text in _NUMBER.findall(line)]
    new = random.choice(others) if random.random() < 0.2 else _stepped(match[0], random)
    lines[index] = lines[index][: match.start()] + new + lines[index][match.end() :]


def _stepped(text: str, random: Random) -> str:
    if text.isdigit():
        value = int(text)
        return str(max(0, value + random.choice((-1, 1)) * max(1, round(abs(random.gauss(0, 0.2)) * value))))
    value = float(text)
    new = value * math.exp(random.gauss(0, 0.3)) if value else random.random()
    return f"{new:.6g}" if "e" in f"{new:.6g}" or "." in f"{new:.6g}" else f"{new:.6g}.0"


def _replace_operator(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Replace an operator by its opposite."""
    old, new = random.choice(_OPPOSITES)
    if random.random() < 0.5:
        old, new = new, old
    pattern = rf"(?<=\s){re.escape(old)}(?=\s)" if not old.isalpha() else rf"\b{old}\b"
    indices = _matching(lines, pattern)
    if indices:
        index = random.choice(indices)
        match = random.choice(list(re.finditer(pattern, lines[index])))
        lines[index] = lines[index][: match.start()] + new + lines[index][match.end() :]


def _delete_line(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Delete a line, unless it is the only one."""
    indices = _matching(lines)
    if len(indices) > 1:
        del lines[random.choice(indices)]


def _swap_lines(lines: list[str], donor: list[str], random: Random) -> None:  # noqa: ARG001
    """Swap two lines of the same indentation."""
    indices = _matching(lines)
    if len(indices) < 2:
        return
    first = random.choice(indices)
    others = [index for index in indices if index != first and _indent(lines[index]) == _indent(lines[first])]
    if others:
        second = random.choice(others)
        lines[first], lines[second] = lines[second], lines[first]


def _copy_line(lines: list[str], donor: list[str], random: Random) -> None:
    """Insert a line of the other version before a line, or replace that line by it, with that line's indentation."""
    targets, sources = _matching(lines), _matching(donor)
    if targets and sources:
        index, line = random.choice(targets), donor[random.choice(sources)].strip()
        new = _indent(lines[index]) + line
        is_replaced = random.randrange(2)
        lines[index : index + is_replaced] = [new]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


_OPERATORS: tuple[Operator, ...] = (
    *[_change_number] * _NUMBER_WEIGHT,
    _replace_operator,
    _delete_line,
    _swap_lines,
    _copy_line,
    _copy_line,
)
