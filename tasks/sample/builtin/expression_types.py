"""Infers the kind of an expression (a number, an array, a tuple …) from annotations and code.

Expressions are only exchanged between places of the same kind, as in strongly typed genetic programming (Montana,
Evolutionary Computation 3, 1995). Otherwise most children of array code crash.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum, auto

from schemas import source


class Base(Enum):
    """Basic type of a value."""

    BOOL = auto()
    INT = auto()
    INDEX = auto()
    """A loop counter: a small integer that may index the sequence of its loop."""
    FLOAT = auto()
    ARRAY = auto()
    MASK = auto()
    """An array of truth values."""
    SEQUENCE = auto()
    FUNCTION = auto()
    NUMPY = auto()
    MATH = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """The kind of an expression. There is one object of each kind, so that kinds are compared by identity.

    Attributes:
        base: Basic type.
        item: Kind of a sequence's elements, or of a function's result; `None` for other kinds.
        parameters: Kinds of a function's arguments.
    """

    base: Base
    item: Kind | None = None
    parameters: tuple[Kind, ...] = ()


Env = dict[str, Kind]

BOOL, INT, INDEX, FLOAT = Kind(Base.BOOL), Kind(Base.INT), Kind(Base.INDEX), Kind(Base.FLOAT)
ARRAY, MASK, OTHER = Kind(Base.ARRAY), Kind(Base.MASK), Kind(Base.OTHER)
NUMPY, MATH = Kind(Base.NUMPY), Kind(Base.MATH)
_SEQUENCES: dict[Kind, Kind] = {}
NUMBERS = frozenset({INT, INDEX, FLOAT})

REDUCTIONS = frozenset({"max", "min", "sum", "mean", "std", "var", "median", "prod", "ptp"})
ARRAY_METHODS = frozenset({"copy", "clip", "astype", "cumsum"})
MASK_FUNCTIONS = frozenset({"logical_and", "logical_or", "logical_not", "isfinite", "isnan", "isclose", "isinf"})
SAME_SHAPE = frozenset({"zeros_like", "ones_like", "full_like", "copy", "sort", "argsort", "asarray", "array"})
ELEMENTWISE = frozenset(
    [
        "where",
        "minimum",
        "maximum",
        "abs",
        "absolute",
        "sqrt",
        "square",
        "exp",
        "log",
        "log1p",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "tanh",
        "power",
        "mod",
        "sign",
        "floor",
        "ceil",
        "round",
        "clip",
        "exp2",
        "expm1",
        "negative",
        "add",
        "subtract",
        "multiply",
        "divide",
        "reciprocal",
        "fmin",
        "fmax",
        "cbrt",
        "hypot",
        "arctan",
    ]
)


def sequence(item: Kind) -> Kind:
    """Return the kind of sequences with such elements."""
    return _SEQUENCES.setdefault(item, Kind(Base.SEQUENCE, item))


def join(first: Kind, second: Kind) -> Kind:
    """Return the kind of a value that may have either kind."""
    if first == second:
        return first
    if {first, second} <= NUMBERS | {BOOL}:
        return FLOAT if FLOAT in (first, second) else INT
    if {first, second} <= {ARRAY, MASK}:
        return ARRAY
    return OTHER


def can_stand_for(kind: Kind, wanted: Kind) -> bool:
    """Return whether an expression of `kind` may be put where one of `wanted` is expected."""
    if wanted == FLOAT:
        return kind in NUMBERS
    if wanted == INT:
        return kind in (INT, INDEX)
    return kind == wanted


def from_annotation(annotation: ast.expr | None) -> Kind:
    """Return the kind that an annotation names; `OTHER` if there is no annotation or it is not known."""
    if isinstance(annotation, ast.Constant):
        try:
            statement = source.parse(str(annotation.value)).body[:1]
        except source.SourceError:
            return OTHER
        return from_annotation(statement[0].value) if statement and isinstance(statement[0], ast.Expr) else OTHER
    if isinstance(annotation, ast.Subscript):
        outer = from_annotation(annotation.value)
        if outer.base is not Base.SEQUENCE:
            return outer
        items = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return sequence(from_annotation(items[0]) if items else OTHER)
    word = annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")
    return _KINDS_BY_NAME.get(word.lower(), OTHER)


_KINDS_BY_NAME = {
    "bool": BOOL,
    "int": INT,
    "float": FLOAT,
    "ndarray": ARRAY,
    "ndarraytype": ARRAY,
    "array": ARRAY,
    "arraylike": ARRAY,
    "tuple": sequence(FLOAT),
    "list": sequence(FLOAT),
    "sequence": sequence(FLOAT),
    "iterable": sequence(FLOAT),
}


def infer(expression: ast.expr, env: Env) -> Kind:
    """Return the kind of an expression, given the kinds of names; `OTHER` if it cannot be determined."""
    match expression:
        case ast.Name(id=name):
            return env.get(name, OTHER)
        case ast.Constant(value=bool()):
            return BOOL
        case ast.Constant(value=int()):
            return INT
        case ast.Constant(value=float()):
            return FLOAT
        case ast.BinOp(left=left, op=op, right=right):
            return _infer_binary(infer(left, env), op, infer(right, env))
        case ast.UnaryOp(op=ast.Not()):
            return BOOL
        case ast.UnaryOp(operand=operand):
            kind = infer(operand, env)
            return INT if kind in (BOOL, INDEX) else kind
        case ast.Compare(left=left, comparators=others):
            kinds = {infer(e, env) for e in (left, *others)}
            return OTHER if OTHER in kinds else MASK if kinds & {ARRAY, MASK} else BOOL
        case ast.BoolOp():
            return BOOL
        case ast.IfExp(body=body, orelse=orelse):
            return join(infer(body, env), infer(orelse, env))
        case ast.Call():
            return _infer_call(expression, env)
        case ast.Subscript(value=value, slice=index):
            return _infer_subscript(infer(value, env), index)
        case ast.Attribute(value=value, attr=attr):
            return _infer_attribute(infer(value, env), attr)
        case ast.ListComp(elt=elt, generators=generators) | ast.GeneratorExp(elt=elt, generators=generators):
            return sequence(infer(elt, bind_generators(generators, env)))
        case ast.Tuple(elts=[first, *_]) | ast.List(elts=[first, *_]):
            return sequence(infer(first, env))
    return OTHER


def _infer_binary(left: Kind, op: ast.operator, right: Kind) -> Kind:
    kinds = {left, right}
    if not kinds <= NUMBERS | {BOOL, ARRAY, MASK}:
        return OTHER
    if isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor):
        return MASK if MASK in kinds else INT if kinds <= {BOOL, INT, INDEX} else OTHER
    if kinds & {ARRAY, MASK}:
        return ARRAY
    return FLOAT if FLOAT in kinds or isinstance(op, ast.Div) else INT


def _infer_subscript(value: Kind, index: ast.expr) -> Kind:
    is_slice = isinstance(index, ast.Slice)
    if value.base is Base.SEQUENCE:
        return value if is_slice else value.item or OTHER
    # A part of an array has another shape, which must not be mixed with the whole.
    is_number = isinstance(index, ast.Constant | ast.UnaryOp)
    return FLOAT if value == ARRAY and is_number else OTHER


def _infer_attribute(value: Kind, attr: str) -> Kind:
    if value == ARRAY and attr == "size":
        return INT
    return FLOAT if value in (MATH, NUMPY) and attr in ("pi", "e", "inf") else OTHER


def _infer_call(call: ast.Call, env: Env) -> Kind:
    kinds = [infer(a, env) for a in call.args]
    match call.func:
        case ast.Attribute(value=owner, attr=attr):
            return _infer_method(infer(owner, env), attr, kinds, has_options=bool(call.keywords))
        case ast.Name(id=name) if name in env:
            return env[name].item or OTHER
        case ast.Name(id=name):
            return _infer_builtin(name, kinds)
    return OTHER


def _infer_method(owner: Kind, attr: str, kinds: list[Kind], *, has_options: bool) -> Kind:
    if owner == NUMPY:
        return _infer_numpy(attr, kinds, has_options=has_options)
    if owner == MATH:
        return INT if attr in ("floor", "ceil", "gcd", "comb", "isqrt") else FLOAT
    if owner == ARRAY and attr in REDUCTIONS and not kinds and not has_options:
        return FLOAT
    if owner == ARRAY and attr in ARRAY_METHODS:
        return ARRAY
    return INT if owner.base is Base.SEQUENCE and attr in ("count", "index") else OTHER


def _infer_numpy(attr: str, kinds: list[Kind], *, has_options: bool) -> Kind:
    if attr in REDUCTIONS and len(kinds) == 1 and not has_options:
        return FLOAT
    if attr in ELEMENTWISE:
        if not kinds or not set(kinds) <= NUMBERS | {BOOL, ARRAY, MASK}:
            return OTHER
        return ARRAY if set(kinds) & {ARRAY, MASK} else FLOAT
    if attr in MASK_FUNCTIONS:
        return MASK if set(kinds) & {ARRAY, MASK} else OTHER
    return ARRAY if attr in SAME_SHAPE and kinds and kinds[0] in (ARRAY, MASK) else OTHER


def _infer_builtin(name: str, kinds: list[Kind]) -> Kind:
    first = kinds[0] if kinds else OTHER
    if name in ("len", "int") or (name == "round" and len(kinds) == 1):
        return INT
    if name == "float":
        return FLOAT
    if name == "bool":
        return BOOL
    if name == "abs":
        return INT if first in (BOOL, INDEX) else first
    if name in ("min", "max", "sum") and len(kinds) == 1:
        item = first.item if first.base is Base.SEQUENCE else FLOAT if first == ARRAY else OTHER
        return INT if item in (BOOL, INDEX) else item or OTHER
    if name in ("min", "max"):
        return FLOAT if FLOAT in kinds and set(kinds) <= NUMBERS else INT if set(kinds) <= NUMBERS else OTHER
    if name == "range":
        return sequence(INDEX)
    return first if name in ("sorted", "list", "tuple", "reversed") and first.base is Base.SEQUENCE else OTHER


def bind_generators(generators: list[ast.comprehension], env: Env) -> Env:
    """Return the names in scope inside a comprehension."""
    inner = env
    for generator in generators:
        inner = bind(generator.target, generator.iter, inner)
    return inner


def bind(target: ast.expr, iterated: ast.expr, env: Env) -> Env:
    """Return the names in scope inside a loop over `iterated`."""
    parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    kinds = _items(iterated, env, len(parts))
    names = [(part.id, kind) for part, kind in zip(parts, kinds, strict=True) if isinstance(part, ast.Name)]
    nested = [n.id for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
    return env | dict.fromkeys(nested, OTHER) | dict(names)


def _items(iterated: ast.expr, env: Env, count: int) -> list[Kind]:
    match iterated:
        case ast.Call(func=ast.Name(id="enumerate"), args=[inner, *_]) if count == 2:
            return [INDEX, *_items(inner, env, 1)]
        case ast.Call(func=ast.Name(id="zip"), args=args) if count == len(args):
            return [_items(a, env, 1)[0] for a in args]
    kind = infer(iterated, env)
    item = FLOAT if kind == ARRAY else kind.item if kind.base is Base.SEQUENCE else None
    if count > 1:
        return [item.item or OTHER if item and item.base is Base.SEQUENCE else OTHER] * count
    return [item or OTHER]
