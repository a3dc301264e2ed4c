"""The library's specifications, as tests look at them: read, and executed here without a sandbox."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from typing import Any

from overnight.schemas.problem import Problem
from overnight.tasks.evaluate.runner import svg
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.specification import Specification


def load(name: str) -> Problem:
    return load_problem(find(name))


def execute(name: str) -> dict[str, Any]:
    """The names of a specification after it ran here, with decorators that do nothing."""
    stub: Any = types.ModuleType("funsearch")
    stub.run = stub.evolve = stub.draw = stub.inputs = lambda function: function
    stub.svg = svg
    before = sys.modules.get("funsearch")
    sys.modules["funsearch"] = stub
    try:
        namespace: dict[str, Any] = {"__name__": name}
        exec(compile(find(name).read_text(), str(find(name)), "exec"), namespace)
        return namespace
    finally:
        if before is None:
            del sys.modules["funsearch"]
        else:
            sys.modules["funsearch"] = before


def score(name: str, split: Any = "train", **replaced: Any) -> list[float]:
    """The scores of the start program, or of one with other functions."""
    return list(scores(name, split, **replaced))


def scores(name: str, split: Any = "train", **replaced: Any) -> Iterator[float]:
    """Evaluate input by input; arguments as for `score`."""
    problem, program = load(name), execute(name)
    program.update(replaced)
    assert isinstance(problem.specification, Specification)
    run = program[problem.specification.run]
    for call in problem.inputs[split]:
        found = run(*call.args, **call.kwargs)
        yield found["score"] if isinstance(found, dict) else found


def steps_of_revolve(length: int, states: int) -> int:
    """The fewest steps of `checkpointing` with so many states: Griewank and Walther, who count the first state, too."""
    slots = states + 1
    repeats = next(r for r in range(length) if math.comb(slots + r, slots) >= length)
    return repeats * length - math.comb(slots + repeats, slots + 1)
