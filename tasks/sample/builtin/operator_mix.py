"""How often each operator is used."""

from __future__ import annotations

import ast

from tasks.sample.builtin.operators import (
    Operator,
    Tools,
    change_argument,
    change_operation,
    cross_over,
    delete_operation,
    insert_operation,
    perturb_constants,
    replace_subtree,
    wrap_in_condition,
)
from tasks.sample.builtin.statements import (
    add_local,
    add_loop,
    add_step,
    cross_statements,
    delete_statement,
    inline_local,
    return_early,
)
from tasks.sample.builtin.trees import size

_SHRINK_EVERY = 25

GROWING: tuple[tuple[Operator, float], ...] = (
    (insert_operation, 3.0),
    (wrap_in_condition, 5.0),
    (add_local, 1.0),
    (add_loop, 1.0),
    (add_step, 1.0),
    (return_early, 0.1),
    (cross_statements, 1.0),
)
"""Operators that make a function longer, with the weight of each."""

KEEPING: tuple[tuple[Operator, float], ...] = (
    (replace_subtree, 4.0),
    (cross_over, 6.0),
    (perturb_constants, 10.0),
    (change_operation, 1.5),
    (change_argument, 1.5),
    (inline_local, 0.4),
)
SHRINKING: tuple[tuple[Operator, float], ...] = ((delete_operation, 1.0), (delete_statement, 0.4))


def mutate_once(function: ast.FunctionDef, tools: Tools) -> bool:
    """One operator drawn by weight; the longer the function, the likelier one that shortens it."""
    length = size(function.body)
    growth = 1.0 if length < tools.max_size else 0.0
    shrink = 1.0 + length / _SHRINK_EVERY
    table = [
        *((o, w * growth) for o, w in GROWING),
        *KEEPING,
        *((o, w * shrink) for o, w in SHRINKING),
    ]
    operators, weights = zip(*table, strict=True)
    return tools.random.choices(operators, weights)[0](function, tools)
