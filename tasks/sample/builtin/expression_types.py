"""Infers the kind of an expression (a number, an array, a tuple …) from annotations and code.

Expressions are only exchanged between places of the same kind, as in strongly typed genetic programming (Montana,
Evolutionary Computation 3, 1995). Otherwise most children of array code crash.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from overnight.tasks.program import python_source


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
    NUMPY = auto()
    MATH = auto()
    RECORD = auto()
    """An object whose attributes, or a dictionary whose keys, are known."""
    OBJECT = auto()
    """Types that are certainly no number, such as a dictionary or a text."""
    OTHER = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """The kind of an expression. There is one object of each kind, so that kinds are compared by identity.

    Attributes:
        base: Basic type.
        item: Kind of a sequence's elements; `None` for other kinds.
        fields: Names and kinds of a record's attributes or keys.
        has_keys: Whether a record is a dictionary.
    """

    base: Base
    item: Kind | None = None
    fields: tuple[tuple[str, Kind], ...] = ()
    has_keys: bool = False

    def field(self, word: object, *, has_keys: bool) -> Kind:
        """Return the kind of an attribute or a key of a record; `OTHER` if there is none."""
        return dict[object, Kind](self.fields).get(word, OTHER) if self.has_keys == has_keys else OTHER


Env = dict[str, Kind]

BOOL, INT, INDEX, FLOAT = Kind(Base.BOOL), Kind(Base.INT), Kind(Base.INDEX), Kind(Base.FLOAT)
ARRAY, MASK, OBJECT, OTHER = Kind(Base.ARRAY), Kind(Base.MASK), Kind(Base.OBJECT), Kind(Base.OTHER)
NUMPY, MATH = Kind(Base.NUMPY), Kind(Base.MATH)
_SEQUENCES: dict[Kind, Kind] = {}
_RECORDS: dict[tuple[tuple[tuple[str, Kind], ...], bool], Kind] = {}
NUMBERS = frozenset({INT, INDEX, FLOAT})

REDUCTIONS = frozenset(("max", "min", "sum", "mean", "std", "var", "median", "prod", "ptp"))
ARRAY_METHODS = frozenset(("copy", "clip", "astype", "cumsum"))
MASK_FUNCTIONS = frozenset(("logical_and", "logical_or", "logical_not", "isfinite", "isnan", "isclose", "isinf"))
SAME_SHAPE = frozenset(("zeros_like", "ones_like", "full_like", "copy", "sort", "argsort", "asarray", "array"))
ELEMENTWISE = frozenset(
    (
        *("where", "minimum", "maximum", "abs", "absolute", "sqrt", "square", "exp", "log", "log1p", "log2", "log10"),
        *("sin", "cos", "tan", "tanh", "power", "mod", "sign", "floor", "ceil", "round", "clip", "exp2", "expm1"),
        *("negative", "add", "subtract", "multiply", "divide", "reciprocal", "fmin", "fmax", "cbrt", "hypot", "arctan"),
    )
)


def sequence(item: Kind) -> Kind:
    """Return the kind of sequences with such elements."""
    return _SEQUENCES.setdefault(item, Kind(Base.SEQUENCE, item))


def record(fields: Mapping[str, Kind], *, has_keys: bool) -> Kind:
    """Return the kind of objects with such attributes, or of dictionaries with such keys."""
    key = tuple(fields.items()), has_keys
    return _RECORDS.setdefault(key, Kind(Base.RECORD, None, *key))


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


def from_annotation(annotation: ast.expr | None, classes: Mapping[str, Kind] = MappingProxyType({})) -> Kind:
    """Return the kind that an annotation names; `OTHER` if there is no annotation or it is not known.

    Args:
        annotation: The annotation.
        classes: Kinds of the objects of classes that the prompt shows, by the names of the classes.
    """
    if isinstance(annotation, ast.Constant):
        try:
            statement = python_source.parse(str(annotation.value)).body[:1]
        except python_source.SourceError:
            return OTHER
        inner = statement[0].value if statement and isinstance(statement[0], ast.Expr) else None
        return from_annotation(inner, classes)
    if isinstance(annotation, ast.Subscript):
        outer = from_annotation(annotation.value)
        if outer.base is not Base.SEQUENCE:
            return outer
        items = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        return sequence(from_annotation(items[0], classes) if items else OTHER)
    word = annotation.attr if isinstance(annotation, ast.Attribute) else getattr(annotation, "id", "")
    return classes.get(word) or _KINDS_BY_NAME.get(word.lower(), OTHER)


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
    **dict.fromkeys(("dict", "mapping", "set", "frozenset", "str", "bytes"), OBJECT),
}


_CONSTANTS: dict[type, Kind] = {bool: BOOL, int: INT, float: FLOAT, str: OBJECT, bytes: OBJECT}


def of_constant(value: object) -> Kind:
    """Return the kind of a constant."""
    return _CONSTANTS.get(type(value), OTHER)


def of_operation(left: Kind, op: ast.operator, right: Kind) -> Kind:
    """Return the kind of an operation on two values."""
    kinds = {left, right}
    if not kinds <= NUMBERS | {BOOL, ARRAY, MASK}:
        return OTHER
    if isinstance(op, ast.BitAnd | ast.BitOr | ast.BitXor):
        return MASK if MASK in kinds else INT if kinds <= {BOOL, INT, INDEX} else OTHER
    if kinds & {ARRAY, MASK}:
        return ARRAY
    return FLOAT if FLOAT in kinds or isinstance(op, ast.Div) else INT


def of_part(value: Kind, index: ast.expr) -> Kind:
    """Return the kind of an element or a slice."""
    if value.base is Base.SEQUENCE:
        return value if isinstance(index, ast.Slice) else value.item or OTHER
    if isinstance(index, ast.Constant) and value.has_keys:
        return value.field(index.value, has_keys=True)
    # A part of an array has another shape, which must not be mixed with the whole.
    return FLOAT if value == ARRAY and isinstance(index, ast.Constant | ast.UnaryOp) else OTHER


def of_attribute(value: Kind, attr: str) -> Kind:
    """Return the kind of an attribute."""
    if value == ARRAY and attr == "size":
        return INT
    if value.base is Base.RECORD:
        return value.field(attr, has_keys=False)
    return FLOAT if value in (MATH, NUMPY) and attr in ("pi", "e", "inf") else OTHER


def of_method(owner: Kind, attr: str, kinds: list[Kind]) -> Kind:
    """Return the kind of the result of a method without options, or of a module's function."""
    if owner == NUMPY:
        return _of_numpy(attr, kinds)
    if owner == MATH:
        return INT if attr in ("floor", "ceil", "gcd", "comb", "isqrt") else FLOAT
    if owner == ARRAY and attr in REDUCTIONS and not kinds:
        return FLOAT
    if owner == ARRAY and attr in ARRAY_METHODS:
        return ARRAY
    return INT if owner.base is Base.SEQUENCE and attr in ("count", "index") else OTHER


def _of_numpy(attr: str, kinds: list[Kind]) -> Kind:
    is_array = bool({ARRAY, MASK} & set(kinds))
    if attr in REDUCTIONS and len(kinds) == 1:
        return FLOAT
    if attr in ELEMENTWISE and kinds and set(kinds) <= NUMBERS | {BOOL, ARRAY, MASK}:
        return ARRAY if is_array else FLOAT
    if attr in MASK_FUNCTIONS and is_array:
        return MASK
    return ARRAY if attr in SAME_SHAPE and kinds[:1] in ([ARRAY], [MASK]) else OTHER


def of_builtin(name: str, kinds: list[Kind]) -> Kind:
    """Return the kind of the result of a built-in function."""
    first = kinds[0] if kinds else OTHER
    if name in ("len", "int") or (name == "round" and len(kinds) == 1):
        return INT
    if name in ("float", "bool"):
        return FLOAT if name == "float" else BOOL
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
