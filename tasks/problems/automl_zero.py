"""Discover how to learn: write a program that learns linear regression, from nothing, as in AutoML-Zero.

A task has hidden weights of 4 numbers; each of its examples is a point x and y, the sum of x times the weights. `setup`
gives the memory, 4 numbers. Then `predict` and `learn` are called in turn with 400 examples, one after the other, and
at the end `predict` alone with 100 more, which count. The three functions start out empty: they answer 0 and learn
nothing. Whoever gets an error (RMSE) below 0.0001 on tasks that were not seen has found a way to learn.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "AutoML-Zero: linear regression from nothing"
# inputs = [1, 2, 3]
# validation = [101, 102, 103, 104, 105]
# held_out = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210]
# score_name = "digits that are right: minus log10 of the RMSE, at most 15; 4 is learned"
#
# [tool.overnight.search]
# prompts = 24
#
# [tool.overnight.limits]
# wall_s = 5
# memory_mib = 512
#
# [tool.overnight.known]
# start = -0.375581
# best = 15
# label = "gradient descent with a good rate: RMSE about 1e-16; the score ends at 15"
# source = "Real, Liang, So, Le: AutoML-Zero, ICML 2020"
# date = "2020-03-06"
# honesty = 8.3814
# honesty_label = "gradient descent with rate 0.05, no model; random search: unsolved after 11 million programs"
# baseline = "gradient_descent"
# ///

import math
from collections.abc import Callable
from typing import Any

import funsearch
import numpy as np

Rule = Callable[..., Any]
SIZE, EXAMPLES, TESTS = 4, 400, 100


@funsearch.run
def evaluate(seed: int) -> float:
    """Digits that are right on one task."""
    return digits(seed, setup, predict, learn)


def digits(seed: int, setup: Rule, predict: Rule, learn: Rule) -> float:
    """Minus log10 of the error on the examples that are not for learning."""
    draw = np.random.default_rng(seed)
    weights = draw.normal(size=SIZE)
    points = draw.normal(size=(EXAMPLES + TESTS, SIZE))
    memory = as_memory(setup(SIZE))
    for x in points[:EXAMPLES]:
        y = float(x @ weights)
        memory = as_memory(learn(x.copy(), y, as_number(predict(x.copy(), memory.copy())), memory.copy()))
    errors = [as_number(predict(x.copy(), memory.copy())) - float(x @ weights) for x in points[EXAMPLES:]]
    error = math.sqrt(math.fsum(e * e for e in errors) / TESTS)
    return min(-math.log10(max(error, 1e-300)), 15.0)


def as_memory(value: Any) -> np.ndarray:
    """What `setup` and `learn` return, as 4 finite numbers."""
    memory = np.array(value, dtype=float)
    if memory.shape != (SIZE,) or not np.all(np.abs(memory) < 1e100):
        raise ValueError(f"the memory must be {SIZE} finite numbers")
    return memory


def as_number(value: Any) -> float:
    """What `predict` returns, as a finite number."""
    number = float(value)
    if not abs(number) < 1e100:
        raise ValueError("a prediction must be a finite number")
    return number


def gradient_descent(seed: int) -> float:
    """Digits of the textbook's way: least mean squares with rate 0.05 (Widrow and Hoff, 1960)."""
    return digits(seed, np.zeros, lambda x, memory: x @ memory, lambda x, y, p, memory: memory + 0.05 * (y - p) * x)


@funsearch.evolve
def setup(size: int) -> np.ndarray:
    """The memory before the first example, shape (size,)."""
    return np.zeros(size)


@funsearch.evolve
def predict(x: np.ndarray, memory: np.ndarray) -> float:
    """What y is for a point.

    Args:
        x: The point, shape (4,).
        memory: What was learned, shape (4,).
    """
    return 0.0


@funsearch.evolve
def learn(x: np.ndarray, y: float, prediction: float, memory: np.ndarray) -> np.ndarray:
    """The memory after an example, shape (4,).

    Args:
        x: The point, shape (4,).
        y: What was right.
        prediction: What `predict` said.
        memory: What was learned before, shape (4,).
    """
    return memory
