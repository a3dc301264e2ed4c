"""Draws mutation operators by weight."""

from __future__ import annotations

import ast

from tasks.sample.builtin.operators import (
    MutationContext,
    Operator,
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

_SIZE_PER_SHRINK_WEIGHT = 25
"""Size by which a function grows until operators that shorten it gain their base weight once more."""

GROWING: tuple[tuple[Operator, float], ...] = (
    (insert_operation, 3.0),
    (wrap_in_condition, 5.0),
    (add_local, 1.0),
    (add_loop, 1.0),
    (add_step, 1.0),
    (return_early, 0.1),
    (cross_statements, 1.0),
)
"""Operators that make a function longer, with their weights."""

KEEPING: tuple[tuple[Operator, float], ...] = (
    (replace_subtree, 4.0),
    (cross_over, 6.0),
    (perturb_constants, 10.0),
    (change_operation, 1.5),
    (change_argument, 1.5),
    (inline_local, 0.4),
)
"""Operators that leave a function's length about the same, with their weights."""

SHRINKING: tuple[tuple[Operator, float], ...] = ((delete_operation, 1.0), (delete_statement, 0.4))
"""Operators that make a function shorter, with their weights for an empty function."""


def mutate_once(function: ast.FunctionDef, context: MutationContext) -> bool:
    """Apply one operator, drawn by weight, and return whether it changed the function.

    The longer the function, the more likely an operator that shortens it.
    """
    length = size(function.body)
    growth = 1.0 if length < context.max_size else 0.0
    shrinkage = 1.0 + length / _SIZE_PER_SHRINK_WEIGHT
    table = [
        *((operator, weight * growth) for operator, weight in GROWING),
        *KEEPING,
        *((operator, weight * shrinkage) for operator, weight in SHRINKING),
    ]
    operators, weights = zip(*table, strict=True)
    return context.random.choices(operators, weights)[0](function, context)
