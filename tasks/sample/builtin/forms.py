"""The forms of new code: what may be grown for a wanted kind, made of an expression, or inserted before a statement.

Forms are Python with places in capitals, which `growth.py` fills in. Places with the same number are filled alike.

- `ARRAY`, `MASK`, `NUMBER`, `TEST`, `WHOLE`: an expression of that kind; `EITHER`: an array or a number
- `PART`, `VALUE`: an array, or a number, that is a name or already used
- `CONSTANT`: a number; `SMALL`: a small whole one; `DIVISOR`: one above 1; `LARGE`: a weighty one; `LOW`, `HIGH`: the
  ends of an interval
- `WORD`: an argument, an attribute or a key that is a number; `OVER`, `UNDER`: two of them
- `SEQUENCE`: a sequence of numbers; `RECORDS`: one of objects with attributes or keys; `COUNTER`: the counter of a loop
- `THIS`: the expression that is changed; `RESULT`: something to return
- `LOCAL`: a new local; `MINE`: a local number that is there
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from overnight.tasks.sample.builtin.expression_types import ARRAY, BOOL, FLOAT, INT, MASK, Kind
from overnight.tasks.sample.builtin.trees import nodes


@dataclass(frozen=True, slots=True)
class Form:
    """A piece of code with places to fill in.

    Attributes:
        weight: How likely it is, relative to the others of its table.
        code: The code: statements, or one expression.
        words: All names in it, places included.
    """

    weight: float
    code: ast.Module | ast.expr
    words: frozenset[str]


def _table(*forms: tuple[float, str]) -> tuple[Form, ...]:
    return tuple(_form(weight, text) for weight, text in forms)


def _form(weight: float, text: str) -> Form:
    module = ast.parse(text)
    first = module.body[0]
    words = frozenset(n.id for n in nodes(module) if isinstance(n, ast.Name))
    return Form(weight, first.value if isinstance(first, ast.Expr) else module, words)


GROWN: dict[Kind, tuple[Form, ...]] = {
    ARRAY: _table(
        (1.7, "ARRAY + EITHER"),
        (0.9, "ARRAY - EITHER"),
        (0.8, "EITHER - ARRAY"),
        (1.7, "ARRAY * EITHER"),
        (1, "ARRAY / EITHER"),
        (0.4, "EITHER / ARRAY"),
        (0.1, "ARRAY % EITHER"),
        (1.5, "np.where(MASK, ARRAY, EITHER)"),
        (1.5, "np.where(MASK, EITHER, ARRAY)"),
        (0.8, "np.minimum(ARRAY, EITHER)"),
        (0.8, "np.maximum(ARRAY, EITHER)"),
        (0.4, "np.abs(ARRAY)"),
        (0.2, "np.sqrt(np.abs(ARRAY))"),
        (0.2, "-ARRAY"),
    ),
    MASK: _table(
        (4, "PART < CONSTANT"),
        (4, "PART > CONSTANT"),
        (1, "ARRAY < EITHER"),
        (1, "ARRAY > EITHER"),
        (1, "ARRAY == EITHER"),
        (1, "(PART1 > LOW) & (PART1 < HIGH)"),
        (0.5, "MASK & MASK"),
        (0.5, "MASK | MASK"),
    ),
    FLOAT: _table(
        (2, "NUMBER + NUMBER"),
        (1.5, "NUMBER - NUMBER"),
        (1.5, "NUMBER * NUMBER"),
        (0.5, "NUMBER / DIVISOR"),
        (0.5, "NUMBER / (1 + abs(NUMBER))"),
        (3, "OVER / UNDER"),
        (1, "OVER - UNDER"),
        (0.7, "NUMBER % DIVISOR"),
        (1, "NUMBER if TEST else NUMBER"),
        (0.8, "min(NUMBER, NUMBER)"),
        (0.7, "max(NUMBER, NUMBER)"),
        (0.5, "abs(NUMBER)"),
        (0.2, "-NUMBER"),
        (0.3, "math.sin(NUMBER)"),
        (0.3, "np.sin(NUMBER)"),
        (0.2, "PART.max()"),
        (0.2, "PART.min()"),
        (0.2, "PART.mean()"),
        (0.9, "sum(SEQUENCE)"),
        (0.5, "SEQUENCE.count(SMALL)"),
        (0.6, "sum(NUMBER for v in SEQUENCE)"),
        (0.5, "sum(NUMBER for i, v in enumerate(SEQUENCE))"),
        (0.5, "sum(NUMBER for v, w in zip(SEQUENCE1, SEQUENCE1[1:]))"),
        (0.6, "sum(NUMBER for v in RECORDS)"),
    ),
    BOOL: _table(
        (2, "VALUE < NUMBER"),
        (2, "VALUE > NUMBER"),
        (2, "VALUE == NUMBER"),
        (0.5, "VALUE != NUMBER"),
        (0.7, "LOW < VALUE < HIGH"),
        (0.5, "TEST and TEST"),
        (0.5, "TEST or TEST"),
    ),
    INT: _table((1, "WHOLE + SMALL"), (1, "WHOLE - SMALL")),
}
"""Forms of new expressions by their kind."""

PAIRS = _table((3, "OVER / UNDER"), (2, "OVER - UNDER"), (1, "OVER * UNDER"), (0.5, "OVER + UNDER"))
"""Forms of new programs of two words."""

ELEMENTS = _table(
    (2, "SEQUENCE[SMALL]"),
    (1, "SEQUENCE[-SMALL]"),
    (4, "SEQUENCE[COUNTER]"),
    (2, "SEQUENCE[COUNTER - SMALL]"),
    (2, "SEQUENCE1[(COUNTER + SMALL) % len(SEQUENCE1)]"),
)
"""Forms of elements of sequences of numbers; the index is most likely in range."""

CHANGED: dict[Kind, tuple[Form, ...]] = {
    ARRAY: _table(
        (1.5, "THIS + EITHER"),
        (1, "THIS - EITHER"),
        (1, "EITHER - THIS"),
        (1, "THIS + VALUE * PART"),
        (1, "THIS - VALUE * PART"),
        (1.5, "THIS * EITHER"),
        (0.5, "THIS / EITHER"),
        (0.3, "-THIS"),
        (0.3, "np.abs(THIS)"),
        (1, "np.where(MASK, THIS, ARRAY)"),
        (1, "np.where(MASK, ARRAY, THIS)"),
        (1, "np.where(MASK, THIS, CONSTANT)"),
        (1, "np.where(MASK, CONSTANT, THIS)"),
        (0.5, "np.where(MASK, THIS, THIS + CONSTANT)"),
        (0.5, "np.where(MASK, THIS, THIS * CONSTANT)"),
        (0.5, "ARRAY if TEST else THIS"),
        (2.5, "THIS + LARGE * ((PART1 > LOW) & (PART1 < HIGH))"),
        (2.5, "THIS - LARGE * ((PART1 > LOW) & (PART1 < HIGH))"),
        (0.5, "THIS + CONSTANT * (PART < CONSTANT)"),
        (0.5, "THIS - CONSTANT * (PART < CONSTANT)"),
        (2.5, "np.where(PART1 < LOW, THIS, -np.abs(PART1 - HIGH))"),
    ),
    FLOAT: _table(
        (1, "THIS + NUMBER"),
        (0.5, "THIS - NUMBER"),
        (1, "THIS * NUMBER"),
        (0.3, "THIS / DIVISOR"),
        (4, "THIS / WORD"),
        (2, "WORD / THIS"),
        (2, "THIS * WORD"),
        (2, "THIS - WORD"),
        (0.3, "-THIS"),
        (0.2, "abs(THIS)"),
        (1.5, "THIS if TEST else NUMBER"),
        (1.5, "NUMBER if TEST else THIS"),
        (1, "THIS + CONSTANT if TEST else THIS"),
        (1, "THIS * CONSTANT if TEST else THIS"),
        (1, "THIS + LARGE * (LOW < VALUE < HIGH)"),
        (1, "THIS - LARGE * (LOW < VALUE < HIGH)"),
    ),
    MASK: _table((1, "THIS & MASK"), (1, "THIS | MASK")),
    BOOL: _table((1, "THIS and TEST"), (1, "THIS or TEST")),
}
"""Forms that an expression of a kind may be replaced by."""

STATEMENTS = _table(
    (0.7, "LOCAL = ARRAY"),
    (0.3, "LOCAL = NUMBER"),
    (0.6, "LOCAL = 0\nfor i, v in enumerate(SEQUENCE):\n    LOCAL += NUMBER"),
    (0.4, "LOCAL = 0\nfor i, v in enumerate(SEQUENCE):\n    if TEST:\n        LOCAL += NUMBER"),
    (0.4, "MINE += NUMBER"),
    (0.1, "MINE *= NUMBER"),
    (0.5, "if TEST:\n    MINE += NUMBER"),
    (0.1, "if TEST:\n    return RESULT"),
)
"""Forms of statements to insert."""
