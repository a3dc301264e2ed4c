"""The expressions of a Python statement, and what may take the place of each."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import TypeVar

from overnight.tasks.program import python_source
from overnight.tasks.tune.literals import number_text

Node = TypeVar("Node", bound=ast.AST)

_MAX_PARTS = 12
"""Most arguments or elements of which each is left out in turn; longer sequences are tables."""

_DIGITS = (1, 2, 3, 4, 6, 8)
"""Numbers of significant digits that are tried."""

_UNTOUCHED = frozenset(("annotation", "returns", "decorator_list", "targets", "target", "args", "type_comment"))
"""Fields of statements in which nothing is replaced."""


def expressions_of(node: ast.AST) -> Iterator[tuple[ast.expr, ast.AST, tuple[str, int | None]]]:
    """Yield the expressions of a statement, but for those of statements within it, each before those within it.

    With each comes its parent, and its place there: a field, and a position if that is a list.
    """
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.stmt | ast.Lambda | ast.comprehension) and name in _UNTOUCHED:
            continue
        for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, ast.stmt | ast.excepthandler | ast.match_case) or not isinstance(one, ast.AST):
                continue
            if isinstance(one, ast.expr):
                yield one, node, (name, place)
            if _is_table(one):
                continue
            if not isinstance(one, ast.JoinedStr):
                yield from expressions_of(one)


_TABLE = ast.List | ast.Tuple | ast.Set | ast.Dict | ast.Constant | ast.UnaryOp | ast.unaryop | ast.expr_context
"""Nodes that a table consists of."""


def _is_table(node: ast.AST) -> bool:
    """Return whether an expression has nothing but many constants, none of which is tried by itself."""
    if not isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict):
        return False
    parts = list(ast.walk(node))
    is_long = sum(isinstance(one, ast.Constant) for one in parts) > _MAX_PARTS
    return is_long and all(isinstance(one, _TABLE) for one in parts)


def parts_of(node: ast.expr) -> Iterator[ast.expr]:
    """Yield what may take the place of an expression: its operands, or itself with less."""
    match node:
        case ast.BinOp(left=left, right=right):
            yield from (left, right)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.BoolOp(values=values):
            yield from values if len(values) == 2 else _less(node, "values")
        case ast.Compare(ops=[_, *ops], comparators=[first, *others]) if ops:
            yield ast.Compare(first, ops, others)
            yield ast.Compare(node.left, node.ops[:-1], node.comparators[:-1])
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)
        case ast.NamedExpr(value=value):
            yield value
        case ast.Call(func=func, args=args, keywords=keywords):
            if isinstance(func, ast.Attribute) and not args and not keywords:
                yield func.value
            if not _is_bound(node):
                yield from (one for one in args if not isinstance(one, ast.Starred | ast.GeneratorExp))
            yield from (_less(node, "args") if len(args) > 1 and not _is_bound(node) else ())
            yield from _less(node, "keywords")
        case ast.Tuple(elts=elements) if len(elements) > 1:
            yield from (one for one in elements[:_MAX_PARTS] if not isinstance(one, ast.Starred))
            yield from _less(node, "elts") if len(elements) > 2 else ()  # `(x,)` is odder than what it leaves out
        case ast.List(elts=elements) | ast.Set(elts=elements) if len(elements) > 1:
            yield from _less(node, "elts")
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            for place, generator in enumerate(node.generators):
                for fewer in _less(generator, "ifs"):
                    changed = [*node.generators[:place], fewer, *node.generators[place + 1 :]]
                    yield _copy(node, generators=changed)
        case ast.Constant(value=float(value)):
            texts = {number_text(value, digits): None for digits in _DIGITS}
            yield from (ast.Constant(float(text)) for text in texts if len(text) < len(repr(value)))
        case _:
            pass


def _is_bound(node: ast.Call) -> bool:
    """Return whether a call keeps a value from passing a number, as before a division: other inputs may need it."""
    is_extreme = isinstance(node.func, ast.Name) and node.func.id in ("max", "min")
    return is_extreme and any(isinstance(one, ast.Constant) for one in node.args)


def _less(node: Node, field: str) -> Iterator[Node]:
    """Yield a node without each of the nodes in a field, unless these are many."""
    parts = getattr(node, field)
    for place in range(len(parts) if len(parts) <= _MAX_PARTS else 0):
        yield _copy(node, **{field: [*parts[:place], *parts[place + 1 :]]})


def _copy(node: Node, **changed: object) -> Node:
    """Return a node with other fields, without a place in the text."""
    return type(node)(**dict(ast.iter_fields(node)) | changed)


def text_of(node: ast.expr) -> str:
    return python_source.unparse(ast.fix_missing_locations(copy.deepcopy(node)))


def dump_with(tree: ast.AST, parent: ast.AST, field: tuple[str, int | None], node: ast.AST) -> str:
    """Return the dump of a tree with another node at a place."""
    name, place = field
    before = getattr(parent, name)
    changed = node if place is None else [*before[:place], node, *before[place + 1 :]]
    setattr(parent, name, changed)
    try:
        return ast.dump(tree, annotate_fields=False)
    finally:
        setattr(parent, name, before)
