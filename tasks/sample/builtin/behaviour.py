"""Compares the behaviour of functions by running them on made-up arguments.

Half of the children in genetic programming behave like a parent, because dead code was changed or all priorities were
shifted by the same amount. A language model rarely proposes those. This model runs its answers first and discards
them, as in semantically aware crossover (Uy et al., Genetic Programming and Evolvable Machines 12, 2011).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from tasks.sample.builtin.expression_types import ARRAY, FLOAT, MATH, NUMBERS, NUMPY, Base, Env
from tasks.sample.builtin.interpreter import UNKNOWN, Call, Recorder

_ARRAYS, _SCALARS = 8, 48
_ELEMENTS = 24
_LENGTHS = (6, 7, 8)
_DEFAULT_LARGEST = 10.0
_P_CLOSE, _CLOSE_RANGE = 0.3, 6

Scenarios = tuple[dict[str, Any], ...]
"""Values of the names in scope, one dictionary for each call."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Results of a function for the made-up arguments.

    Attributes:
        values: One result for each scenario.
        order: Ranks of the results among each other (numbers), or of the elements within each result (arrays). Code
            that takes the highest of several priorities depends on nothing else.
    """

    values: tuple[Any, ...]
    order: tuple[Any, ...]


CRASH = Behaviour((), ())
"""Behaviour of a function that fails in one of the scenarios."""


def make_scenarios(env: Env, arguments: Iterable[str], constants: dict[str, float], largest: float) -> Scenarios:
    """Return scenarios with random values for every name in scope.

    Args:
        env: The names in scope.
        arguments: The names that are the function's arguments.
        constants: The names whose values are known.
        largest: The largest number that the prompt mentions, which is the largest random value; 0 if it has none.
    """
    random = Random(0)
    count = _ARRAYS if any(env[n] == ARRAY for n in arguments) else _SCALARS
    return tuple(_draw(env, largest or _DEFAULT_LARGEST, random) | constants for _ in range(count))


def _draw(env: Env, largest: float, random: Random) -> dict[str, Any]:
    length = random.choice(_LENGTHS)
    values: dict[str, Any] = {}
    for name, kind in env.items():
        if kind == ARRAY:
            values[name] = [_element(values, largest, random) for _ in range(_ELEMENTS)]
        elif kind == FLOAT:
            values[name] = float(round(random.uniform(0, largest)))
        elif kind in NUMBERS:
            values[name] = length
        elif kind.base is Base.SEQUENCE and kind.item in NUMBERS:
            is_float = kind.item == FLOAT
            values[name] = tuple(random.uniform(0, largest) if is_float else random.randrange(3) for _ in range(length))
        elif kind in (NUMPY, MATH):
            values[name] = kind
    return values


def _element(values: dict[str, Any], largest: float, random: Random) -> float:
    """Return an element of an array; sometimes just above a number in scope, because thresholds are often there."""
    numbers = [v for v in values.values() if isinstance(v, float)]
    if numbers and random.random() < _P_CLOSE:
        return random.choice(numbers) + random.randrange(_CLOSE_RANGE)
    return float(round(random.uniform(0, largest)))


def behaviour(body: list[ast.stmt], scenarios: Scenarios) -> Behaviour | None:
    """Return the behaviour of a function's body; `None` if the interpreter cannot run it."""
    try:
        values = [Call(dict(names)).run(body) for names in scenarios]
    except (ZeroDivisionError, IndexError):
        return CRASH
    except UNKNOWN:
        return None
    if all(isinstance(v, list) for v in values):
        return Behaviour(tuple(map(tuple, values)), tuple(map(_ranks, values)))
    if not all(isinstance(v, int | float) for v in values):
        return None
    return Behaviour(tuple(values), _ranks(values))


def record_values(body: list[ast.stmt], scenarios: Scenarios) -> dict[int, list[Any]] | None:
    """Return all values of each expression, by its `id`; `None` if the interpreter cannot run the body."""
    seen: dict[int, list[Any]] = {}
    try:
        for names in scenarios:
            Recorder(dict(names), seen).run(body)
    except UNKNOWN:
        return None
    return seen


def _ranks(values: list[float]) -> tuple[int, ...]:
    """Return the rank of each value among the different values; NaN counts as the highest, as in `argmax`."""
    comparable = [math.inf if v != v else v for v in values]
    ranks = {v: rank for rank, v in enumerate(sorted(set(comparable)))}
    return tuple([ranks[v] for v in comparable])
