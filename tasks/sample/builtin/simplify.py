"""Simplifies programs without changing their meaning: folds constants, removes identities and dead statements.

Random mutation leaves `x + 0` and unused locals behind. People read the best program, and the same program in two
spellings would be evaluated twice.
"""

from __future__ import annotations

import ast
import math

from tasks.sample.builtin.expression_types import NUMBERS, Env
from tasks.sample.builtin.trees import binary, called, compare, dump, loaded, negative, nodes, number, same, value_of

_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
_PURE_FUNCTIONS = frozenset(
    [
        "abs",
        "min",
        "max",
        "sum",
        "len",
        "float",
        "int",
        "round",
        "sorted",
        "list",
        "tuple",
        "range",
        "enumerate",
        "zip",
        "where",
        "minimum",
        "maximum",
        "sqrt",
        "square",
        "sign",
        "floor",
        "ceil",
        "tanh",
        "sin",
        "cos",
        "atan",
        "exp",
        "log",
        "log1p",
        "clip",
        "mean",
        "std",
        "count",
        "zeros_like",
        "ones_like",
        "full_like",
        "power",
    ]
)
_MAX_FOLDED = 1e9
_ROUNDS = 4


def simplify(function: ast.FunctionDef, env: Env) -> None:
    """Simplify a function in place.

    Args:
        function: The function.
        env: Its arguments and global names.
    """
    scalars = {n for n, k in env.items() if k in NUMBERS} - _stored(function)
    before = dump(function.body)
    for _ in range(_ROUNDS):
        _Folder(scalars).visit(function)
        _drop_dead(function)
        function.body = _live_statements(function.body) or [ast.Pass()]
        after = dump(function.body)
        if after == before:
            return
        before = after


def _stored(function: ast.FunctionDef) -> set[str]:
    return {n.id for n in nodes(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


class _Folder(ast.NodeTransformer):
    """Rewriter of expressions, from the leaves up.

    Whether `x - x` is 0 or an array of zeros depends on `x`, so it is folded only if all its names are `scalars`.
    """

    def __init__(self, scalars: set[str]) -> None:
        self._scalars = scalars

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        left, right = value_of(node.left), value_of(node.right)
        if left is not None and right is not None:
            folded = _compute(left, node.op, right)
            return node if folded is None else number(folded)
        match node.op:
            case ast.Add():
                return self._add(node, left, right)
            case ast.Sub():
                return self._subtract(node, left, right)
            case ast.Mult():
                return self._multiply(node, left, right)
            case ast.Div() | ast.Pow() if right == 1:
                return node.left
        return node

    def _add(self, node: ast.BinOp, left: float | None, right: float | None) -> ast.expr:
        if left == 0:
            return node.right
        if right == 0:
            return node.left
        if right is not None and right < 0:
            return binary(node.left, ast.Sub(), number(-right))
        if left is not None:
            return self.visit_BinOp(ast.BinOp(node.right, ast.Add(), node.left))
        if (positive := _negated(node.right)) is not None:
            return binary(node.left, ast.Sub(), positive)
        if (positive := _negated(node.left)) is not None:
            return binary(node.right, ast.Sub(), positive)
        if same(node.left, node.right):
            return self.visit_BinOp(ast.BinOp(number(2), ast.Mult(), node.left))
        return _merge_sum(node, right)

    def _subtract(self, node: ast.BinOp, left: float | None, right: float | None) -> ast.expr:
        if right == 0:
            return node.left
        if left == 0:
            return negative(node.right)
        if right is not None and right < 0:
            return binary(node.left, ast.Add(), number(-right))
        if (positive := _negated(node.right)) is not None:
            return binary(node.left, ast.Add(), positive)
        if same(node.left, node.right) and self._is_scalar(node.left):
            return number(0)
        return _merge_sum(node, right)

    def _multiply(self, node: ast.BinOp, left: float | None, right: float | None) -> ast.expr:
        if right is not None:
            return self.visit_BinOp(ast.BinOp(node.right, ast.Mult(), node.left))
        if left == 1:
            return node.right
        if left == -1:
            return negative(node.right)
        if left == 0 and self._is_scalar(node.right):
            return number(0)
        match node.right:
            case ast.BinOp(left=inner, op=ast.Mult(), right=rest) if left is not None and value_of(inner) is not None:
                return binary(number(left * (value_of(inner) or 0)), ast.Mult(), rest)
        first, second = _negated(node.left), _negated(node.right)
        return binary(first, ast.Mult(), second) if first is not None and second is not None else node

    def _is_scalar(self, tree: ast.expr) -> bool:
        is_plain = all(
            isinstance(n, ast.Name | ast.Constant | ast.BinOp | ast.UnaryOp)
            for n in nodes(tree)
            if isinstance(n, ast.expr)
        )
        return is_plain and loaded(tree) <= self._scalars

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return operand
            case ast.UnaryOp(op=ast.USub(), operand=operand) if (positive := _negated(operand)) is not None:
                return positive
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=0)):
                return number(0)
            case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp(left=left, op=ast.Sub(), right=right)):
                return binary(right, ast.Sub(), left)
            case ast.UnaryOp(op=ast.Not(), operand=ast.UnaryOp(op=ast.Not(), operand=operand)):
                return operand
            case ast.UnaryOp(op=ast.Not(), operand=ast.Compare(left=left, ops=[op], comparators=[right])):
                opposite = _OPPOSITES.get(type(op))
                return node if opposite is None else compare(left, opposite(), right)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1:
            return node
        left, right = value_of(node.left), value_of(node.comparators[0])
        if same(node.left, node.comparators[0]) and self._is_scalar(node.left) and type(node.ops[0]) in _OPPOSITES:
            return ast.Constant(isinstance(node.ops[0], ast.Eq | ast.LtE | ast.GtE))
        if left is None or right is None or type(node.ops[0]) not in _OPPOSITES:
            return node
        truths = {ast.Lt: left < right, ast.GtE: left >= right, ast.Gt: left > right, ast.LtE: left <= right}
        return ast.Constant((truths | {ast.Eq: left == right, ast.NotEq: left != right})[type(node.ops[0])])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.test, ast.Constant):
            return node.body if node.test.value else node.orelse
        return node.body if same(node.body, node.orelse) else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        values = [value_of(a) for a in node.args]
        numbers = [v for v in values if v is not None]
        match called(node), node.args:
            case "min" | "max" | "minimum" | "maximum" as function, [first, second]:
                if same(first, second):
                    return first
                if len(numbers) == 2:
                    return number(min(numbers) if function.startswith("min") else max(numbers))
            case "where", [test, first, second]:
                if isinstance(test, ast.Constant):
                    return first if test.value else second
                if same(first, second):
                    return first
            case "abs", [inner]:
                if numbers:
                    return number(abs(numbers[0]))
                if called(inner) in ("abs", "square", "sqrt", "len"):
                    return inner
                if (positive := _negated(inner)) is not None:
                    node.args = [positive]
        return node


def _compute(left: float, op: ast.operator, right: float) -> float | None:
    """Return the value of an operation on two numbers; `None` if it is undefined or too large to write out."""
    try:
        match op:
            case ast.Add():
                value = left + right
            case ast.Sub():
                value = left - right
            case ast.Mult():
                value = left * right
            case ast.Div():
                value = left / right
            case ast.FloorDiv():
                value = left // right
            case ast.Mod():
                value = left % right
            case ast.Pow() if 0 <= right <= 4:
                value = left**right
            case _:
                return None
    except (ZeroDivisionError, OverflowError):
        return None
    is_small = isinstance(value, int | float) and math.isfinite(value) and abs(value) < _MAX_FOLDED
    return value if is_small else None


def _negated(tree: ast.expr) -> ast.expr | None:
    """Return `x` if the tree is `-x` and not a number, else `None`."""
    match tree:
        case ast.UnaryOp(op=ast.USub(), operand=operand) if value_of(tree) is None:
            return operand
    return None


def _merge_sum(node: ast.BinOp, right: float | None) -> ast.expr:
    """Rewrite `(x + a) - b` as `x + (a - b)`."""
    if right is None:
        return node
    right = -right if isinstance(node.op, ast.Sub) else right
    match node.left:
        case ast.BinOp(left=rest, op=ast.Add() | ast.Sub() as op, right=inner) if (
            value := value_of(inner)
        ) is not None:
            total = (value if isinstance(op, ast.Add) else -value) + right
            if total == 0:
                return rest
            return binary(rest, ast.Add() if total > 0 else ast.Sub(), number(abs(total)))
        case ast.BinOp(left=inner, op=ast.Sub(), right=rest) if (value := value_of(inner)) is not None:
            return binary(number(value + right), ast.Sub(), rest)
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
            return _simplified_if(statement)
        case ast.For(orelse=[]) | ast.While(orelse=[]):
            statement.body = _live_statements(statement.body)
            # An empty `for` has no effect, and an empty `while` may never end.
            return [statement] if statement.body else []
        case ast.Assign(targets=[ast.Name(id=target)], value=ast.Name(id=source)) if target == source:
            return []
        case ast.AugAssign(op=ast.Add() | ast.Sub(), value=value) if value_of(value) == 0:
            return []
        case ast.AugAssign(op=ast.Mult() | ast.Div(), value=value) if value_of(value) == 1:
            return []
        case ast.AugAssign(op=ast.Add(), value=value) if (positive := _negated(value)) is not None:
            statement.op, statement.value = ast.Sub(), positive
    return [statement]


def _simplified_if(statement: ast.If) -> list[ast.stmt]:
    statement.body, statement.orelse = _live_statements(statement.body), _live_statements(statement.orelse)
    if isinstance(statement.test, ast.Constant):
        return statement.body if statement.test.value else statement.orelse
    if dump(statement.body) == dump(statement.orelse):
        return statement.body
    if not statement.body:
        statement.test = ast.UnaryOp(ast.Not(), statement.test)
        statement.body, statement.orelse = statement.orelse, []
    return [statement]


def _drop_dead(function: ast.FunctionDef) -> None:
    """Remove assignments to locals that nothing reads."""
    read = loaded(function)
    for block in blocks(function):
        kept = [s for s in block if not _is_dead(s, read)]
        block[:] = kept or [ast.Pass()]


def _is_dead(statement: ast.stmt, read: set[str]) -> bool:
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=target)], value=value)
            | ast.AugAssign(target=ast.Name(id=target), value=value)
        ):
            return target not in read and _is_pure(value)
    return False


def _is_pure(tree: ast.expr) -> bool:
    calls = [n for n in nodes(tree) if isinstance(n, ast.Call)]
    return all(called(c) in _PURE_FUNCTIONS for c in calls) and not any(
        isinstance(n, ast.NamedExpr) for n in nodes(tree)
    )


def blocks(tree: ast.AST) -> list[list[ast.stmt]]:
    """Return every non-empty list of statements in a tree."""
    fields = [getattr(n, f, None) for n in nodes(tree) for f in ("body", "orelse", "finalbody")]
    return [block for block in fields if isinstance(block, list) and block]
