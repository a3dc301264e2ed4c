"""Whether a child would do anything else than its parents, found out by trying both on made-up arguments.

Half of the children of genetic programming mean the same as a parent: dead code was changed, or all priorities were
shifted alike. A model that thinks does not offer those; this one tries its answer out first, as in semantically aware
crossover (Uy et al., Genetic Programming and Evolvable Machines 12, 2011).
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
_USUAL = 10.0
_CLOSE, _NEAR = 0.3, 6

Scenarios = tuple[dict[str, Any], ...]
"""Values of the names in scope, one table for each trial."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a function answers to the made-up arguments.

    Attributes:
        values: One answer for each.
        order: How the answers compare with each other (numbers), or the elements of each answer (arrays). Whoever
            takes the highest of priorities sees nothing else of them.
    """

    values: tuple[Any, ...]
    order: tuple[Any, ...]


CRASH = Behaviour((), ())
"""Of a function that fails for one of the arguments."""


def made_up(env: Env, arguments: Iterable[str], constants: dict[str, float], largest: float) -> Scenarios:
    """Values for every name in scope, several times.

    Args:
        env: The names.
        arguments: Those of them that are the function's arguments.
        constants: Those that have a value which is known.
        largest: The largest number that the prompt mentions; sizes go up to it.
    """
    random = Random(0)
    count = _ARRAYS if any(env[n] == ARRAY for n in arguments) else _SCALARS
    return tuple(_draw(env, largest or _USUAL, random) | constants for _ in range(count))


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
    """An element of an array; now and then close above a number in scope, as thresholds are crossed there."""
    numbers = [v for v in values.values() if isinstance(v, float)]
    if numbers and random.random() < _CLOSE:
        return random.choice(numbers) + random.randrange(_NEAR)
    return float(round(random.uniform(0, largest)))


def behaviour(body: list[ast.stmt], scenarios: Scenarios) -> Behaviour | None:
    """What a body does, if it can be told."""
    try:
        values = [Call(dict(names)).answer(body) for names in scenarios]
    except (ZeroDivisionError, IndexError):
        return CRASH
    except UNKNOWN:
        return None
    if all(isinstance(v, list) for v in values):
        return Behaviour(tuple(map(tuple, values)), tuple(map(_ranks, values)))
    if not all(isinstance(v, int | float) for v in values):
        return None
    return Behaviour(tuple(values), _ranks(values))


def record(body: list[ast.stmt], scenarios: Scenarios) -> dict[int, list[Any]] | None:
    """What each expression, by its `id`, came to every time; `None` if it cannot be told."""
    seen: dict[int, list[Any]] = {}
    try:
        for names in scenarios:
            Recorder(dict(names), seen).answer(body)
    except UNKNOWN:
        return None
    return seen


def _ranks(values: list[float]) -> tuple[int, ...]:
    """The place of each among the different values; what is no number counts as the highest, as in `argmax`."""
    plain = [math.inf if v != v else v for v in values]
    places = {v: place for place, v in enumerate(sorted(set(plain)))}
    return tuple([places[v] for v in plain])
