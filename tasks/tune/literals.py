"""Find the numbers in a Python text that may be tuned, and replace them without touching anything else."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from overnight.tasks.program import python_source
from overnight.tasks.program.source_lines import split_lines

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
    """A number in a text, by its offsets; without its sign, which Python reads as an operator.

    Attributes:
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
    """
    if "\r" in text or "\f" in text:
        return []  # the parser counts lines at places of its own
    try:
        tree = python_source.parse_shallow(text)
    except python_source.SourceError:
        return []
    lines, probable = line_offsets(text), _probabilities(tree)
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
    fixed = _fixed(tree)
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


def line_offsets(text: str) -> list[tuple[int, bytes]]:
    """Return the offset of each line, and the line as the parser counts its columns: in bytes."""
    lines, offset = list[tuple[int, bytes]](), 0
    for line in split_lines(text, keepends=True):
        lines.append((offset, line.encode("utf-8", "surrogatepass")))
        offset += len(line)
    return lines


def _fixed(tree: ast.AST) -> set[ast.AST]:
    """Return the numbers that stay because of their place. Each node is visited once, since the text is untrusted."""
    found, kept = set[ast.AST](), dict[ast.AST, _Kept]()
    waiting = [(tree, _Kept.NOTHING)]
    while waiting:
        node, inherited = waiting.pop()
        # In `(x > 6) & (x < 24)` are thresholds, not masks.
        is_compared = isinstance(node, ast.Compare) and inherited is _Kept.MASKS
        here = max(kept.get(node, _Kept.NOTHING), _Kept.NOTHING if is_compared else inherited, _kept_in(node))
        if here is _Kept.ALL or (here and _is_whole(node)):
            found.add(node)
        found.update(_fixed_beside(node))
        annotations = filter(None, (getattr(node, "annotation", None), getattr(node, "returns", None)))
        kept |= dict.fromkeys(annotations, _Kept.ALL) | dict.fromkeys(_sizes(node), _Kept.WHOLE)
        waiting += [(child, here) for child in ast.iter_child_nodes(node)]
    return found


class _Kept(IntEnum):
    """Numbers that stay in a part of a text: more with each value."""

    NOTHING = 0
    MASKS = 1
    WHOLE = 2
    ALL = 3


def _kept_in(node: ast.AST) -> _Kept:
    match node:
        case ast.JoinedStr() | ast.MatchValue():
            return _Kept.ALL
        case ast.BinOp(op=ast.LShift() | ast.RShift() | ast.BitAnd() | ast.BitOr() | ast.BitXor()):
            return _Kept.MASKS
        case _:
            return _Kept.NOTHING


def _sizes(node: ast.AST) -> list[ast.expr]:
    """Return the indices, shapes, lengths and seeds of a node."""
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if not isinstance(node, ast.Call):
        return []
    found, name = [word.value for word in node.keywords if word.arg in _SIZES], _last_name(node.func)
    if name == "round":
        found += node.args[1:]
    if name in _SIZED:
        found += node.args[:1] if name in ("full", "tile", "repeat") else node.args
    return found


def _fixed_beside(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the numbers that stay because of the operation or comparison that they are a side of."""
    match node:
        case ast.BinOp(op=ast.Pow()):
            yield from _equal_to(node.right, 2, 0.5)
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield from (side for side in (node.left, node.right) if _is_whole(side, 1))
        case ast.AugAssign(op=ast.Add() | ast.Sub()) if _is_whole(node.value, 1):
            yield node.value
        case ast.Compare():
            yield from (one for side in (node.left, *node.comparators) for one in _equal_to(side, 0, 1))


def _is_whole(node: ast.AST, value: int | None = None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and value in (None, node.value)


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
