"""Interprets functions on numbers, arrays and sequences, without handing any of their code to Python.

Programs may come from untrusted sources. The interpreter gives up on code that it does not support or that takes long.
Arrays are represented by lists and sequences by tuples; arrays follow numpy's rules for division by zero.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from tasks.sample.builtin.expression_types import MATH, NUMPY

_MAX_ITERATIONS = 300
_MAX_RANGE = 1000
_LARGE = 10**15
_RETURNED, _NOT_RETURNED = True, False


class Unsupported(Exception):
    """Code that the interpreter does not support, or that takes too long."""


UNKNOWN = (Unsupported, ArithmeticError, ValueError, TypeError, LookupError, RecursionError)
"""Errors of a call whose result cannot be determined."""


class Call:
    """One call of a function.

    Args:
        names: Values of the arguments and global names.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._iterations = 0
        self._result: Any = None

    def run(self, body: list[ast.stmt]) -> Any:
        """Run a function's body and return its result.

        Raises:
            UNKNOWN: One of these errors, if the result cannot be determined.
        """
        if self._block(body) is not _RETURNED:
            raise Unsupported
        return self._result

    # Statements

    def _block(self, block: list[ast.stmt]) -> bool:
        return any(_STATEMENTS.get(type(s), _unsupported)(self, s) for s in block)

    def _return(self, node: ast.Return) -> bool:
        self._result = self.value(node.value)
        return _RETURNED

    def _assign(self, node: ast.Assign) -> bool:
        self._bind(node.targets[0], self.value(node.value))
        return _NOT_RETURNED

    def _augmented(self, node: ast.AugAssign) -> bool:
        if not isinstance(node.target, ast.Name):
            raise Unsupported
        self._names[node.target.id] = _operate(node.op, self._names[node.target.id], self.value(node.value))
        return _NOT_RETURNED

    def _if(self, node: ast.If) -> bool:
        return self._block(node.body if _truth(self.value(node.test)) else node.orelse)

    def _for(self, node: ast.For) -> bool:
        return any(self._step(node.target, item) or self._block(node.body) for item in _items(self.value(node.iter)))

    def _pass(self, _node: ast.stmt) -> bool:
        return _NOT_RETURNED

    def _step(self, target: ast.expr, item: Any) -> bool:
        self._iterations += 1
        if self._iterations > _MAX_ITERATIONS:
            raise Unsupported
        self._bind(target, item)
        return _NOT_RETURNED

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = value
        elif isinstance(target, ast.Tuple) and isinstance(value, tuple) and len(value) == len(target.elts):
            for part, item in zip(target.elts, value, strict=True):
                self._bind(part, item)
        else:
            raise Unsupported

    # Expressions

    def value(self, node: ast.expr | None) -> Any:
        """Return the value of an expression."""
        return _EXPRESSIONS.get(type(node), _unsupported)(self, node)

    def _name(self, node: ast.Name) -> Any:
        return self._names[node.id]

    def _constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, int | float):
            return node.value
        raise Unsupported

    def _binary(self, node: ast.BinOp) -> Any:
        return _operate(node.op, self.value(node.left), self.value(node.right))

    def _unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        match node.op:
            case ast.USub():
                return [-v for v in value] if isinstance(value, list) else -value
            case ast.Not():
                return not _truth(value)
            case ast.Invert() if isinstance(value, list):
                return [not v for v in value]
        raise Unsupported

    def _compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1:
            raise Unsupported
        return _operate(node.ops[0], self.value(node.left), self.value(node.comparators[0]))

    def _boolean(self, node: ast.BoolOp) -> Any:
        is_and = isinstance(node.op, ast.And)
        value: Any = None
        for part in node.values:
            value = self.value(part)
            if _truth(value) is not is_and:
                break
        return value

    def _choice(self, node: ast.IfExp) -> Any:
        return self.value(node.body if _truth(self.value(node.test)) else node.orelse)

    def _sequence(self, node: ast.Tuple | ast.List) -> Any:
        return tuple(self.value(e) for e in node.elts)

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp) -> Any:
        if len(node.generators) != 1:
            raise Unsupported
        generator = node.generators[0]
        outer, found = dict(self._names), []
        for item in _items(self.value(generator.iter)):
            self._step(generator.target, item)
            if all(_truth(self.value(test)) for test in generator.ifs):
                found.append(self.value(node.elt))
        self._names = outer
        return tuple(found)

    def _subscript(self, node: ast.Subscript) -> Any:
        owner = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            low, high, step = (None if p is None else self.value(p) for p in _parts(node.slice))
            return owner[low:high:step] if isinstance(owner, tuple) else _unsupported(self, node)
        index = self.value(node.slice)
        return owner[index] if isinstance(owner, tuple | list) and isinstance(index, int) else _unsupported(self, node)

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self.value(node.value)
        if isinstance(owner, list) and node.attr == "size":
            return len(owner)
        if owner in (NUMPY, MATH) and node.attr in ("pi", "e", "inf"):
            return getattr(math, node.attr)
        raise Unsupported

    def _call(self, node: ast.Call) -> Any:
        if node.keywords:
            raise Unsupported
        values = [self.value(a) for a in node.args]
        if isinstance(node.func, ast.Name):
            return _BUILTINS[node.func.id](*values)
        if not isinstance(node.func, ast.Attribute):
            raise Unsupported
        owner, word = self.value(node.func.value), node.func.attr
        if owner in (NUMPY, MATH):
            return _numpy(word, values)
        if isinstance(owner, list):
            return _REDUCTIONS[word](owner, *values)
        return owner.count(*values) if isinstance(owner, tuple) and word == "count" else _unsupported(self, node)


class Recorder(Call):
    """One call that records the values of all expressions.

    Args:
        names: Values of the arguments and global names.
        seen: Values of each expression by its `id`, to which this call adds its own.
    """

    def __init__(self, names: dict[str, Any], seen: dict[int, list[Any]]) -> None:
        super().__init__(names)
        self._seen = seen

    def value(self, node: ast.expr | None) -> Any:
        value = super().value(node)
        self._seen.setdefault(id(node), []).append(value)
        return value


def _unsupported(_run: Call, _node: object) -> Any:
    raise Unsupported


def _truth(value: Any) -> bool:
    if isinstance(value, list):
        raise Unsupported
    return bool(value)


def _items(value: Any) -> Iterable[Any]:
    if not isinstance(value, list | tuple | range):
        raise Unsupported
    return value


def _parts(node: ast.Slice) -> tuple[ast.expr | None, ...]:
    return node.lower, node.upper, node.step


def _operate(op: ast.AST, left: Any, right: Any) -> Any:
    """Apply an operation to two numbers or element by element; division by zero is no error if one is an array."""
    is_left_array, is_right_array = isinstance(left, list), isinstance(right, list)
    if not is_left_array and not is_right_array:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise Unsupported
        value = _OPERATIONS[type(op)](left, right)
        return float(value) if isinstance(value, int) and abs(value) > _LARGE else value
    function = _ARRAY_OPERATIONS.get(type(op)) or _OPERATIONS[type(op)]
    return list(map(function, left if is_left_array else repeat(left), right if is_right_array else repeat(right)))


def _quotient(left: float, right: float) -> float:
    if right:
        return left / right
    if not left or left != left or right != right:
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _protected(function: Callable[[float, float], float]) -> Callable[[float, float], float]:
    return lambda left, right: function(left, right) if right and math.isfinite(left) else math.nan


def _power(left: float, right: float) -> float:
    if not isinstance(right, int) or not 0 <= right <= 4:
        raise Unsupported
    return left**right


def _numpy(word: str, values: list[Any]) -> Any:
    if word in _REDUCTIONS and len(values) == 1 and isinstance(values[0], list):
        return _REDUCTIONS[word](values[0])
    function = _FUNCTIONS[word]
    if not any(isinstance(v, list) for v in values):
        return function(*values)
    return list(map(function, *(v if isinstance(v, list) else repeat(v) for v in values)))


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _MAX_RANGE:
        raise Unsupported
    return found


def _where(test: float, first: float, second: float) -> float:
    return first if test else second


_OPERATIONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: _power,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_ARRAY_OPERATIONS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Div: _quotient,
    ast.Mod: _protected(operator.mod),
    ast.FloorDiv: _protected(operator.floordiv),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "where": _where,
    "minimum": lambda x, y: y if y < x else x,
    "maximum": lambda x, y: y if y > x else x,
    "abs": abs,
    "sqrt": lambda x: math.sqrt(x) if x >= 0 else math.nan,
    "square": lambda x: x * x,
    "sign": lambda x: (x > 0) - (x < 0),
    "floor": lambda x: math.floor(x) if math.isfinite(x) else x,
    "ceil": lambda x: math.ceil(x) if math.isfinite(x) else x,
    "tanh": math.tanh,
    "sin": lambda x: math.sin(x) if math.isfinite(x) else math.nan,
    "cos": lambda x: math.cos(x) if math.isfinite(x) else math.nan,
    "atan": math.atan,
    "exp": lambda x: math.exp(min(x, 700.0)),
    "log": lambda x: math.log(x) if x > 0 else math.nan,
    "log1p": lambda x: math.log1p(x) if x > -1 else math.nan,
    "clip": lambda x, low, high: min(max(x, low), high),
    "zeros_like": lambda _x: 0.0,
    "ones_like": lambda _x: 1.0,
}
_BUILTINS: dict[str, Callable[..., Any]] = {
    "abs": lambda x: list(map(abs, x)) if isinstance(x, list) else abs(x),
    "min": min,
    "max": max,
    "sum": sum,
    "len": len,
    "int": int,
    "float": float,
    "round": round,
    "range": _range,
    "enumerate": lambda x: tuple(enumerate(_items(x))),
    "zip": lambda *x: tuple(zip(*map(_items, x), strict=False)),
    "tuple": tuple,
    "list": tuple,
    "sorted": lambda x: tuple(sorted(x)),
}
_REDUCTIONS: dict[str, Callable[[list[float]], Any]] = {
    "max": max,
    "min": min,
    "sum": sum,
    "mean": lambda x: sum(x) / len(x),
    "copy": list,
}
_STATEMENTS: dict[type[Any], Callable[[Call, Any], bool]] = {
    ast.Return: Call._return,
    ast.Assign: Call._assign,
    ast.AugAssign: Call._augmented,
    ast.If: Call._if,
    ast.For: Call._for,
    ast.Pass: Call._pass,
}
_EXPRESSIONS: dict[type[Any], Callable[[Call, Any], Any]] = {
    ast.Name: Call._name,
    ast.Constant: Call._constant,
    ast.BinOp: Call._binary,
    ast.UnaryOp: Call._unary,
    ast.Compare: Call._compare,
    ast.BoolOp: Call._boolean,
    ast.IfExp: Call._choice,
    ast.Tuple: Call._sequence,
    ast.List: Call._sequence,
    ast.GeneratorExp: Call._comprehension,
    ast.ListComp: Call._comprehension,
    ast.Subscript: Call._subscript,
    ast.Attribute: Call._attribute,
    ast.Call: Call._call,
}
