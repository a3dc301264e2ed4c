"""Learning to learn, and training: known ways reach what is shown, and what a rule returns is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from overnight.tasks.program.specification import Specification
from tests.problems.library import execute, load, score

LEARNED = {
    "predict": lambda x, memory: float(x @ memory),
    "learn": lambda x, y, error, memory: memory + 0.2 * error * x,
}
ADAM = {
    "update": lambda g, m, v, w, progress: -0.03 * (1 - progress) * m / (np.sqrt(v) + 1e-3),
    "remember_first": lambda g, m, v: 0.9 * m + 0.1 * g,
    "remember_second": lambda g, m, v: 0.99 * v + 0.01 * g**2,
}
LION = {
    "update": lambda g, m, v, w, progress: -0.01 * (1 - progress) * (np.sign(v) + 0.01 * w),
    "remember_first": lambda g, m, v: 0.99 * m + 0.01 * g,
    "remember_second": lambda g, m, v: 0.9 * m + 0.1 * g,
}


@pytest.mark.parametrize(
    ("name", "functions"),
    [
        ("automl-zero", ("predict", "learn")),
        ("optimizer-rule", ("update", "remember_first", "remember_second")),
    ],
)
def test_all_its_functions_evolve_together(name: str, functions: tuple[str, ...]):
    specification = load(name).specification
    assert isinstance(specification, Specification)
    assert specification.evolved == functions


# AutoML-Zero


@pytest.mark.parametrize("split", ["train", "validation", "held_out"])
def test_gradient_descent_learns_every_task_to_four_digits_and_more(split: str):
    assert min(score("automl-zero", split, **LEARNED)) > 4
    assert max(score("automl-zero", split)) < 1


@pytest.mark.parametrize(
    "miss",
    [
        {"predict": LEARNED["predict"], "learn": lambda x, y, error, memory: memory},
        {"learn": LEARNED["learn"], "predict": lambda x, memory: 0.0},
        {**LEARNED, "learn": lambda x, y, error, memory: memory - 0.2 * error * x / 100},
        {**LEARNED, "learn": lambda x, y, error, memory: memory + 0.2 * error},
    ],
    ids=["nothing is learned", "nothing is told", "the wrong way", "without the point"],
)
def test_what_is_almost_gradient_descent_learns_nothing(miss: dict[str, Any]):
    assert max(score("automl-zero", **miss)) < 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"learn": lambda x, y, error, memory: np.zeros(5)},
        {"predict": lambda x, memory: float("nan")},
        {"learn": lambda x, y, error, memory: memory + np.inf},
    ],
)
def test_what_is_no_finite_memory_or_number_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="finite"):
        score("automl-zero", **wrong)


def test_what_counts_is_not_what_was_learned_from_and_points_cannot_be_changed():
    seen: list[bytes] = []

    def predict(x: np.ndarray, memory: np.ndarray) -> float:
        seen.append(x.tobytes())
        answer = float(x @ memory)
        x[:] = memory[:] = 0
        return answer

    assert score("automl-zero", predict=predict, learn=LEARNED["learn"]) == score("automl-zero", **LEARNED)
    assert len(set(seen)) == 6 * 500


def test_what_points_the_right_way_has_credit_for_half_of_what_a_factor_would_make_of_it():
    nothing = np.mean(score("automl-zero", learn=lambda x, y, error, memory: memory))
    hebb = {"learn": lambda x, y, error, memory: memory + x * y}
    for factor in (1, -1, 1e-90, 1e90):
        predict = {"predict": lambda x, memory, factor=factor: factor * float(x @ memory)}
        assert np.mean(score("automl-zero", **hebb, **predict)) == pytest.approx(np.mean(score("automl-zero", **hebb)))
    assert nothing + 0.3 < np.mean(score("automl-zero", **hebb)) < 1
    assert np.mean(score("automl-zero", **hebb)) + 0.3 < np.mean(score("automl-zero")) < 1, "the start has the length"


def test_partial_credit_ends_at_one_digit_and_never_falls_as_an_error_shrinks():
    learned, truth = execute("automl-zero")["learned"], 2 * np.random.default_rng(1).normal(size=4)
    scores = [
        learned(1, lambda x, memory, off=off: float(x @ truth) * (1 + off), lambda x, y, error, memory: memory)
        for off in (1e3, 10, 1.5, 1, 0.9, 0.5, 0.2, 0.1, 0.05, 0.03, 0.01, 1e-6, 0)
    ]
    assert scores == sorted(scores)
    assert scores[0] < 1 < scores[-3]
    assert scores[-1] == 15


# The optimizer


def test_rules_of_the_field_train_better_than_the_start():
    start = np.mean(score("optimizer-rule"))
    assert np.mean(score("optimizer-rule", **ADAM)) > start + 0.03
    assert np.mean(score("optimizer-rule", **LION)) > start + 0.03
    assert np.mean(score("optimizer-rule", update=lambda g, *_: 0.1 * g)) < start, "uphill"


def test_the_gradient_is_that_of_the_loss():
    program, draw = execute("optimizer-rule"), np.random.default_rng(3)
    weights, points, labels = program["network"](draw, 4, 1.0), draw.normal(size=(7, 10)), draw.integers(3, size=7)
    _, gradient = program["loss"](weights, 4, points, labels)
    for place in range(0, len(weights), 5):
        nudge = np.eye(len(weights))[place] * 1e-6
        up, down = (program["loss"](weights + way * nudge, 4, points, labels)[0] for way in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("wrong", [lambda g, *_: g[:-1], lambda g, *_: g * np.nan, lambda g, *_: 0.0])
@pytest.mark.parametrize("rule", ["update", "remember_first", "remember_second"])
def test_a_rule_that_does_not_return_a_number_for_each_weight_is_refused(rule: str, wrong: Any):
    with pytest.raises(ValueError, match="one finite number for each"):
        score("optimizer-rule", **{rule: wrong})


def test_a_rule_cannot_change_the_weights_by_the_way():
    def update(gradient, first, second, weights, progress):
        change = -0.1 * (1 - progress) * gradient
        weights[:] = gradient[:] = first[:] = second[:] = 7.0
        return change

    honest = score("optimizer-rule", update=lambda gradient, *others: -0.1 * (1 - others[-1]) * gradient)
    assert score("optimizer-rule", update=update) == honest
