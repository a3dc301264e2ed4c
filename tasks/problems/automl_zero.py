"""Discover how to learn: write a program that learns linear regression, as in AutoML-Zero.

A task has hidden weights, 4 numbers; each of its examples is a point x and y, the sum of x times the weights. The
memory is 4 numbers, zeros at first. `predict` and `learn` are called in turn with 400 examples, one after the other,
and at the end `predict` alone with 100 more, which count. To begin with, `predict` is the sum of x times the memory,
and `learn` adds each point times what was right (Hebb's rule), which comes near the weights and no nearer. A program
with an error (RMSE) below 0.0001 on tasks that it has not seen has found a way to learn. Below one digit, half of the
score is for the predictions times their best common factor, so that a memory that points the right way counts before
its length is right.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "AutoML-Zero: how to learn linear regression"
# origin = "AutoML-Zero, ICML 2020"
# inputs = [1, 2, 3, 4, 5, 6]
# show_inputs = false
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
# start = 0.726771
# best = 15
# label = "gradient descent with a good rate: RMSE about 1e-16; the score ends at 15"
# source = "Real, Liang, So, Le: AutoML-Zero, ICML 2020"
# date = "2020-03-06"
# proven = true
# honesty = 8.09361
# honesty_held_out = 8.20715
# honesty_label = "gradient descent with rate 0.2"
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
    """Return digits that are right on one task."""
    return learned(seed, predict, learn)


def learned(seed: int, predict: Rule, learn: Rule) -> float:
    """Return digits that are right on the examples that are not for learning, with partial credit below one digit."""
    said, right = predictions(seed, predict, learn)
    found = digits(said - right)
    return found if found >= 1 else (max(found, digits(right)) + min(scaled_digits(said, right), 1.0)) / 2


def predictions(seed: int, predict: Rule, learn: Rule) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions for the examples that are not for learning, and the right values."""
    draw = np.random.default_rng(seed)
    weights = 2 * draw.normal(size=SIZE)
    points = draw.normal(size=(EXAMPLES + TESTS, SIZE)) / 2
    memory = np.zeros(SIZE)
    for x in points[:EXAMPLES]:
        y = float(x @ weights)
        error = y - as_number(predict(x.copy(), memory.copy()))
        memory = as_memory(learn(x.copy(), y, error, memory.copy()))
    said = np.array([as_number(predict(x.copy(), memory.copy())) for x in points[EXAMPLES:]])
    return said, points[EXAMPLES:] @ weights


def digits(errors: np.ndarray) -> float:
    """Return minus log10 of the root of their mean square."""
    error = math.sqrt(math.fsum(float(e) ** 2 for e in errors) / len(errors))
    return min(-math.log10(max(error, 1e-300)), 15.0)


def scaled_digits(said: np.ndarray, right: np.ndarray) -> float:
    """Return digits that would be right with all predictions times the best factor."""
    largest = np.abs(said).max()
    unit = said / largest if largest > 0 else said
    return digits(unit * (unit @ right) / max(unit @ unit, 1e-300) - right)


def as_memory(value: Any) -> np.ndarray:
    """Return the result of `learn` as 4 finite numbers."""
    memory = np.array(value, dtype=float)
    if memory.shape != (SIZE,) or not np.all(np.abs(memory) < 1e100):
        raise ValueError(f"the memory must be {SIZE} finite numbers")
    return memory


def as_number(value: Any) -> float:
    """Return the result of `predict` as a finite number."""
    number = float(value)
    if not abs(number) < 1e100:
        raise ValueError("a prediction must be a finite number")
    return number


def gradient_descent(seed: int) -> float:
    """Return digits of the textbook's way: least mean squares with rate 0.2 (Widrow and Hoff, 1960)."""
    return learned(seed, lambda x, memory: x @ memory, lambda x, _, error, memory: memory + 0.2 * error * x)


@funsearch.inputs
def fresh(seed: int) -> int:
    """Return an input: the seed of what is drawn for it."""
    return seed


@funsearch.draw
def picture(seed: int) -> str:
    """Draw the predictions for the last 100 examples over the right values."""
    said, right = predictions(seed, predict, learn)
    found = f"{digits(said - right):.2f} digits"
    drawing = funsearch.svg.Picture(320, 300, f"Predictions of 100 examples over the targets: {found} are right")
    ends = [(end, end) for end in (right.min(), right.max())]
    drawing.plot(
        {"predicted": zip(right, said, strict=True), "right": ends},
        x_label=f"target; {found}",
        y_label="prediction",
        dotted=("predicted",),
    )
    return str(drawing)


@funsearch.evolve
def predict(x: np.ndarray, memory: np.ndarray) -> float:
    """Return the y of a point.

    Args:
        x: The point, shape (4,).
        memory: What was learned, shape (4,).
    """
    return float(x @ memory)


@funsearch.evolve
def learn(x: np.ndarray, y: float, error: float, memory: np.ndarray) -> np.ndarray:
    """Return the memory after an example, shape (4,).

    Args:
        x: The point, shape (4,).
        y: What was right.
        error: By how much that is more than `predict` said.
        memory: What was learned before, shape (4,).
    """
    return memory + 0.01 * y * x
