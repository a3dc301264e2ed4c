"""Find the numbers in a Python text that may be tuned, and replace them without touching anything else."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.program import python_source
from tasks.program.source_lines import split_lines

Span = tuple[int, int]
"""Begin and end of a piece of text, in characters."""

_MAX_INT = 10**9
"""Largest whole number that is tuned; larger ones are masks, moduli and the like."""

_SIZE_FROM = 13
"""Smallest whole number that is taken for a size because an input has it; smaller ones agree by chance."""

_SIZED = frozenset(
    (
        *("range", "arange", "linspace", "zeros", "ones", "empty", "full", "eye", "identity", "reshape", "resize"),
        *("tile", "repeat", "roll", "split", "islice", "seed", "Random", "default_rng", "RandomState", "PCG64"),
    )
)
"""Functions whose whole numbers are shapes, lengths, counts of turns and seeds."""

_SIZES = frozenset(
    (
        *("axis", "shape", "size", "num", "ndim", "ndmin", "dtype", "order", "digits", "decimals", "ddof", "indent"),
        *("seed", "random_state"),
    )
)
"""Keywords whose whole numbers are the same."""

_PROBABILITY = re.compile(
    r"(^|_)(p|q|prob|probs|probability|probabilities|rate|ratio|fraction|frac|share|quantile|decay|momentum|discount|"
    r"epsilon|eps)($|_|\d)",
    re.IGNORECASE,
)
"""Names of numbers between 0 and 1."""

_DRAWS = frozenset(("random", "rand", "uniform", "random_sample"))
"""Functions whose results are compared with probabilities."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number in a text; without its sign, which Python reads as an operator.

    Attributes:
        start: Offset of its first character.
        end: Offset after its last character.
        value: Its value, above 0.
        is_probability: Whether it looks like a probability or a rate.
    """

    start: int
    end: int
    value: int | float
    is_probability: bool = False


def find_literals(text: str, spans: Collection[Span], sizes: Collection[float] = ()) -> list[Literal]:
    """Return the numbers that may be tuned, in order.

    All floats count, and all whole numbers but those in indices, shapes, ranges and seeds, steps of 1, numbers of the
    inputs, and masks. Exponents 2 and 0.5 and comparisons with 0 and 1 stay. A constant with a name in capitals counts
    even if an input has the same number.

    Args:
        text: Python text; none is found in text that is not.
        spans: Pieces of the text that may change.
        sizes: Numbers of the problem's inputs.
    """
    if "\r" in text or "\f" in text:
        return []  # the parser counts lines at places of its own
    try:
        tree = python_source.parse_shallow(text)
    except python_source.SourceError:
        return []
    lines, probable = _lines(text), _probabilities(tree)
    found = [_literal(text, node, lines, node in probable) for node in _tunable(tree, sizes)]
    inside = [one for one in found if one and any(begin <= one.start and one.end <= end for begin, end in spans)]
    return sorted(inside, key=lambda literal: literal.start)


def replace_literals(text: str, texts: Mapping[Literal, str]) -> str:
    """Return the text with other texts for some of its numbers."""
    parts, end = [], len(text)
    for literal in sorted(texts, key=lambda literal: literal.start, reverse=True):
        parts += [text[literal.end : end], texts[literal]]
        end = literal.start
    return "".join([text[:end], *reversed(parts)])


def number_text(value: int | float, digits: int = 17) -> str:
    """Return a number as Python writes it, rounded to significant digits; a float stays one."""
    if isinstance(value, int):
        return str(int(float(f"{value:.{digits}g}")) if digits < len(str(value)) else value)
    return repr(float(f"{value:.{digits}g}"))


def _tunable(tree: ast.AST, sizes: Collection[float]) -> Iterator[ast.Constant]:
    """Yield the numbers above 0 that neither their place nor the inputs keep."""
    fixed = {number for node in ast.walk(tree) for number in _fixed_below(node)}
    named = {value for node in ast.walk(tree) for name, value in _assigned(node) if name.isupper()}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or node in fixed:
            continue
        value = node.value
        if type(value) is float and 0 < value < math.inf:
            yield node
        if type(value) is int and 0 < value <= _MAX_INT:
            is_size = value >= _SIZE_FROM and value in sizes
            if not is_size or node in named:
                yield node


def _literal(text: str, node: ast.Constant, lines: Sequence[tuple[int, bytes]], is_probability: bool) -> Literal | None:
    """Return the number at the place of a node; `None` if it is not written there or runs into a word."""
    offset, line = lines[node.lineno - 1]
    start, end = (
        offset + len(line[:column].decode("utf-8", "surrogatepass"))
        for column in (node.col_offset, node.end_col_offset or 0)
    )
    written, around = text[start:end], text[max(0, start - 1) : start] + text[end : end + 1]
    if not re.fullmatch(r"[0-9.eE_+-]+|0[xXoObB][0-9a-fA-F_]+", written) or re.search(r"[\w.]", around):
        return None
    value = ast.literal_eval(written)
    return Literal(start, end, value, is_probability and value < 1) if value == node.value else None


def _lines(text: str) -> list[tuple[int, bytes]]:
    """Return the offset of each line, and the line as the parser counts its columns: in bytes."""
    lines, offset = list[tuple[int, bytes]](), 0
    for line in split_lines(text, keepends=True):
        lines.append((offset, line.encode("utf-8", "surrogatepass")))
        offset += len(line)
    return lines


def _fixed_below(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the numbers that stay because of their place in this node."""
    match node:
        case ast.JoinedStr() | ast.MatchValue():
            yield from ast.walk(node)
        case ast.Subscript():
            yield from _whole_numbers(node.slice)
        case ast.Call():
            yield from _sizes_in_call(node)
        case ast.BinOp(op=ast.Pow()):
            yield from _equal_to(node.right, 2, 0.5)
        case ast.BinOp(op=ast.LShift() | ast.RShift() | ast.BitAnd() | ast.BitOr() | ast.BitXor()):
            yield from (one for part in _outside_of_comparisons(node) for one in _whole_numbers(part, deep=False))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield from (one for side in (node.left, node.right) for one in _whole_numbers(side, deep=False, only=1))
        case ast.AugAssign(op=ast.Add() | ast.Sub()):
            yield from _whole_numbers(node.value, deep=False, only=1)
        case ast.Compare():
            yield from (one for side in (node.left, *node.comparators) for one in _equal_to(side, 0, 1))
        case ast.AnnAssign() | ast.arg() if node.annotation:
            yield from ast.walk(node.annotation)
        case ast.FunctionDef() | ast.AsyncFunctionDef() if node.returns:
            yield from ast.walk(node.returns)


def _outside_of_comparisons(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a bit operation but what is compared: in `(x > 6) & (x < 24)` are thresholds, not masks."""
    yield node
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.Compare):
            yield from _outside_of_comparisons(part)


def _sizes_in_call(call: ast.Call) -> Iterator[ast.AST]:
    name = _last_name(call.func)
    if name == "round":
        yield from (one for argument in call.args[1:] for one in _whole_numbers(argument))
    if name in _SIZED:
        sized = call.args[:1] if name in ("full", "tile", "repeat") else call.args
        yield from (one for argument in sized for one in _whole_numbers(argument))
    yield from (one for word in call.keywords if word.arg in _SIZES for one in _whole_numbers(word.value))


def _whole_numbers(node: ast.AST, *, deep: bool = True, only: int | None = None) -> Iterator[ast.AST]:
    for one in ast.walk(node) if deep else (node,):
        if isinstance(one, ast.Constant) and type(one.value) is int and only in (None, one.value):
            yield one


def _equal_to(node: ast.AST, *values: float) -> Iterator[ast.AST]:
    number = node.operand if isinstance(node, ast.UnaryOp) else node
    if isinstance(number, ast.Constant) and number.value in values:
        yield number


def _probabilities(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes that have the name of a probability, or are compared with a random number."""
    pairs = [pair for node in ast.walk(tree) for pair in _assigned(node)]
    found = {value for name, value in pairs if _PROBABILITY.search(name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            if any(isinstance(side, ast.Call) and _last_name(side.func) in _DRAWS for side in sides):
                found |= set(sides)
    return found


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the names and values of assignments, defaults of parameters, and keywords."""
    match node:
        case ast.Assign(targets=[target]):
            both = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            pairs = zip(target.elts, node.value.elts, strict=False) if both else ((target, node.value),)  # type: ignore[union-attr]
            yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant() as value):
            yield name, value
        case ast.keyword(arg=str(name)):
            yield name, node.value
        case ast.arguments():
            named = [*node.posonlyargs, *node.args]
            yield from ((a.arg, value) for a, value in zip(reversed(named), reversed(node.defaults), strict=False))
            yield from ((a.arg, value) for a, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
