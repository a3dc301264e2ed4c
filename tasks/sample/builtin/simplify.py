"""Tidies programs up without changing their meaning: folds numbers, drops what is dead, names what is repeated.

Random mutation leaves `x + 0` and unused locals behind. People read the best program, and the same program in two
spellings would be evaluated twice.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import Counter
from collections.abc import Callable

from overnight.tasks.sample.builtin.trees import (
    assign,
    binary,
    dump,
    fresh_name,
    loaded,
    name,
    negative,
    nodes,
    number,
    same,
    size,
    value_of,
)

_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_PURE_FUNCTIONS = frozenset(
    (
        *("abs", "min", "max", "sum", "len", "float", "int", "round", "sorted", "list", "tuple", "range", "enumerate"),
        *("zip", "mean", "count", "copy"),
    )
)
_MAX_FOLDED = 1e9
_ROUNDS = 4


def simplify(function: ast.FunctionDef) -> None:
    """Tidy a function up in place."""
    before = dump(function.body)
    for _ in range(_ROUNDS):
        _Folder().visit(function)
        _share_locals(function)
        _drop_dead(function)
        function.body = _live_statements(function.body) or [ast.Pass()]
        after = dump(function.body)
        if after == before:
            break
        before = after
    _name_repeated(function)


class _Folder(ast.NodeTransformer):
    """Rewriter of expressions, from the leaves up."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        left, right = value_of(node.left), value_of(node.right)
        if left is not None and right is not None:
            folded = _compute(left, node.op, right)
            return node if folded is None else number(folded)
        match node.op, left, right:
            case (ast.Add(), 0, _) | (ast.Mult(), 1, _):
                return node.right
            case (ast.Add() | ast.Sub(), _, 0) | (ast.Mult() | ast.Div(), _, 1):
                return node.left
            case ast.Sub(), 0, _:
                return negative(node.right)
        return _with_fewer_signs(node, right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=0)):
                return number(0)
            case ast.UnaryOp(op=ast.USub(), operand=ast.UnaryOp(op=ast.USub(), operand=inner)):
                return inner
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node.body if same(node.body, node.orelse) else node


def _compute(left: float, op: ast.operator, right: float) -> float | None:
    """Return the value of an operation on two numbers; `None` if it is undefined or too large to write out."""
    compute = _OPERATIONS.get(type(op))
    if compute is None or (right == 0 and isinstance(op, ast.Div | ast.Mod)):
        return None
    value = compute(left, right)
    return value if math.isfinite(value) and abs(value) < _MAX_FOLDED else None


def _with_fewer_signs(node: ast.BinOp, right: float | None) -> ast.expr:
    """Rewrite `x + -y` as `x - y`, and the like."""
    opposite = {ast.Add: ast.Sub, ast.Sub: ast.Add}.get(type(node.op))
    if opposite is None:
        return node
    if right is not None and right < 0:
        return binary(node.left, opposite(), number(-right))
    match node:
        case ast.BinOp(left=left, right=ast.UnaryOp(op=ast.USub(), operand=inner)):
            return binary(left, opposite(), inner)
        case ast.BinOp(left=ast.UnaryOp(op=ast.USub(), operand=inner), op=ast.Add(), right=other):
            return binary(other, ast.Sub(), inner)
    return node


def _live_statements(block: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a block that can run and have an effect."""
    kept: list[ast.stmt] = []
    for statement in block:
        kept += _simplified(statement)
        if kept and isinstance(kept[-1], ast.Return | ast.Raise | ast.Break | ast.Continue):
            break
    return kept


def _simplified(statement: ast.stmt) -> list[ast.stmt]:
    """Return the statements that replace a statement; none if it has no effect."""
    match statement:
        case ast.Pass():
            return []
        case ast.If():
            statement.body, statement.orelse = _live_statements(statement.body), _live_statements(statement.orelse)
            if isinstance(statement.test, ast.Constant):
                return statement.body if statement.test.value else statement.orelse
            statement.body = statement.body or [ast.Pass()]
            return [statement] if statement.orelse or not isinstance(statement.body[0], ast.Pass) else []
        case ast.For(orelse=[]):
            statement.body = _live_statements(statement.body)
            return [statement] if statement.body else []
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.Name(id=source)) if target == source:
            return []
    return [statement]


def _drop_dead(function: ast.FunctionDef) -> None:
    """Remove assignments to locals that nothing reads."""
    read = loaded(function)
    for block in blocks(function):
        block[:] = [s for s in block if not _is_dead(s, read)] or [ast.Pass()]


def _is_dead(statement: ast.stmt, read: set[str]) -> bool:
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=target)], value=value)
            | ast.AugAssign(target=ast.Name(id=target), value=value)
        ):
            return target not in read and all(map(_is_pure, nodes(value)))
    return False


def _is_pure(node: ast.AST) -> bool:
    """Return whether a node itself has no effect but its value: no call of something unknown, no assignment."""
    match node:
        case ast.Call(func=ast.Name(id=word)):
            return word in _PURE_FUNCTIONS
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=word)):
            return owner in ("np", "numpy", "math") or word in _PURE_FUNCTIONS
    return not isinstance(node, ast.Call | ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom)


def _share_locals(function: ast.FunctionDef) -> None:
    """Read a local wherever a later statement repeats its value, and not another name for it."""
    stored = Counter(n.id for n in nodes(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    stored.update(n.arg for n in nodes(function) if isinstance(n, ast.arg))
    for index, statement in enumerate(function.body):
        match statement:
            case ast.Assign(targets=[ast.Name(id=local)], value=ast.BinOp() | ast.Name() as value) if _is_total(
                value
            ) and all(stored[n] < 2 for n in (local, *loaded(value))):
                old, new = (name(local), value.id) if isinstance(value, ast.Name) else (value, local)
                for later in function.body[index + 1 :]:
                    _Namer(old, new).visit(later)


def _name_repeated(function: ast.FunctionDef) -> None:
    """Give the largest expression that a statement of the function repeats a name, before that statement."""
    for index, statement in enumerate(function.body):
        if not isinstance(statement, ast.Return | ast.Assign | ast.AugAssign) or statement.value is None:
            continue
        own = {n.id for n in nodes(statement.value) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        own |= {n.arg for n in nodes(statement.value) if isinstance(n, ast.arg)}
        parts = [n for n in nodes(statement.value) if isinstance(n, ast.BinOp) and _is_total(n) and not own & loaded(n)]
        counts = Counter(map(dump, parts))
        repeated = [part for part in parts if counts[dump(part)] > 1]
        if repeated:
            tree = max(repeated, key=size)
            local = fresh_name({n.id for n in nodes(function) if isinstance(n, ast.Name)} | _arguments(function))
            _Namer(tree, local).visit(statement)
            function.body.insert(index, assign(local, tree))
            return


def _is_total(tree: ast.expr) -> bool:
    """Return whether an expression may be evaluated anywhere: sums and products of names and numbers."""
    return all(
        isinstance(n, ast.Name | ast.Constant | ast.UnaryOp)
        or (isinstance(n, ast.BinOp) and isinstance(n.op, ast.Add | ast.Sub | ast.Mult))
        for n in nodes(tree)
    )


def _arguments(function: ast.FunctionDef) -> set[str]:
    return {n.arg for n in nodes(function.args) if isinstance(n, ast.arg)}


class _Namer(ast.NodeTransformer):
    """Transformer that puts a name in place of an expression."""

    def __init__(self, tree: ast.expr, local: str) -> None:
        self._tree, self._local = tree, local

    def visit(self, node: ast.AST) -> ast.AST:
        return name(self._local) if same(node, self._tree) else self.generic_visit(node)


def blocks(tree: ast.AST) -> list[list[ast.stmt]]:
    """Return every non-empty list of statements in a tree."""
    fields = [getattr(n, f, None) for n in nodes(tree) for f in ("body", "orelse", "finalbody")]
    return [block for block in fields if isinstance(block, list) and block]
