"""A program's numbers get better where they can, are written with few digits, and are held to the validation inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.tune.bodies import NumberedBody
from overnight.tasks.tune.tuning import (
    Evaluate,
    Evaluations,
    OutOfTime,
    Trials,
    Tuned,
    fewest_digits,
    sensitive_numbers,
    tune,
)

SPECIFICATION = read_specification(
    "import funsearch\n@funsearch.run\ndef evaluate(n): return f()\n@funsearch.evolve\ndef f():\n    return 0\n", "made"
)
Score = Callable[..., float]


def numbered(body: str) -> NumberedBody:
    return NumberedBody(SPECIFICATION, body)


def evaluates(score: Score) -> Evaluate:
    """Return what evaluates bodies such as `return [1.5, 2]`, by a function of the numbers."""

    def one(body: str) -> float | None:
        try:
            return score(*eval(body.rpartition("return ")[2]))
        except ArithmeticError:
            return None

    return lambda bodies: [one(body) for body in bodies]


def tuned(
    body: str, score: Score, limit: int = 200, noise: float = 0.0, **more: Evaluate
) -> tuple[Tuned | None, Trials]:
    trials = Trials(Evaluations(evaluates(score), **more), limit)
    return tune(numbered(body), trials, seed=1, noise=noise), trials


def test_one_number_is_found_by_golden_section():
    got, trials = tuned("return [2.0]  # kept", lambda a: -abs(math.log10(a / 3.7)))
    assert got is not None
    assert got.body == f"return [{got.changes[0][1]}]  # kept"
    assert abs(math.log10(float(got.changes[0][1]) / 3.7)) < 0.01
    assert trials.used <= 2 + 12 + 20


@pytest.mark.parametrize(("condition", "factor"), [(1e2, 8), (1e4, 15)])
def test_many_numbers_of_different_weight_are_improved_by_orders_of_magnitude(condition: float, factor: float):
    tops, weights = (1.3, 0.02, 40.0, 5.0, 0.7, 900.0), [condition ** (i / 5) for i in range(6)]

    def score(*numbers: float) -> float:
        errors = [math.log10(one / top) for one, top in zip(numbers, tops, strict=True)]
        return -sum(weight * error**2 for weight, error in zip(weights, errors, strict=True))

    start = (2.0, 0.011, 61.0, 3.1, 0.5, 600.0)
    got, trials = tuned(f"return {list(start)}", score)
    assert got is not None
    assert got.score > score(*start) / factor
    assert trials.used <= 6 + 30 + 60 + 20


def test_whole_numbers_stay_whole():
    got, _ = tuned("return [10, 18]", lambda a, b: -abs(a - 6) - abs(b - 25))
    assert got is not None
    assert got.body == "return [6, 25]"
    assert got.changes == (("10", "6"), ("18", "25"))


def test_numbers_that_change_nothing_are_left_alone():
    got, _ = tuned("return [10.5, 0.3, 7.25]", lambda a, b, c: -abs(b - 0.4))
    assert got is not None
    assert got.body.startswith("return [10.5, 0.")
    assert got.body.endswith(", 7.25]")


def test_variants_that_fail_are_passed_over():
    got, _ = tuned("return [1.0, 2.0]", lambda a, b: a + b if a < 3 else 1 / 0)
    assert got is not None
    assert 15 < got.score < 23


@pytest.mark.parametrize(
    ("body", "score"),
    [
        ("return [1.0, 2.0]", lambda a, b: 5.0),
        ("return [1.0, 2.0]", lambda a, b: -abs(a - 1) - abs(b - 2)),
        ("return [1.0, 2.0]", lambda a, b: 1 / 0),
        ("return []", lambda: 1.0),
    ],
)
def test_without_a_gain_there_is_no_program(body: str, score: Score):
    got, _ = tuned(body, score)
    assert got is None


def test_a_gain_within_the_noise_is_none():
    assert tuned("return [1.0]", lambda a: min(a, 2.0), noise=5.0)[0] is None
    assert tuned("return [1.0]", lambda a: min(a, 2.0), noise=0.5)[0] is not None


def test_what_loses_on_the_validation_inputs_is_dropped():
    def score(a: float) -> float:
        return a

    assert tuned("return [1.0]", score, validation=evaluates(score))[0] is not None
    assert tuned("return [1.0]", score, validation=evaluates(lambda a: -a))[0] is None
    assert tuned("return [1.0]", score, validation=evaluates(lambda a: 1 / 0))[0] is None
    assert tuned("return [1.0]", score, noise=0.5, validation=evaluates(lambda a: -a / 50))[0] is not None


def test_no_more_evaluations_are_made_than_allowed():
    for limit in (1, 5, 30, 60):
        _, trials = tuned("return [1.0, 2.0, 3.0]", lambda *n: sum(n), limit)
        assert trials.used <= limit


def test_when_the_time_ends_the_best_so_far_counts():
    seen: list[str] = []

    def evaluate(bodies: Sequence[str]) -> list[float | None]:
        seen.extend(bodies)
        if len(seen) > 20:
            raise OutOfTime
        return list(evaluates(lambda a, b: a + b)(bodies))

    got = tune(numbered("return [1.0, 2.0]"), Trials(Evaluations(evaluate), 200), seed=1)
    assert got is not None
    assert got.score > 3.0


def test_the_seed_settles_everything():
    def score(a: float, b: float) -> float:
        return -abs(a - 3.3) - abs(b - 0.77)

    bodies = {tuned("return [1.0, 2.0]", score)[0] for _ in range(3)}
    assert len(bodies) == 1


def test_at_most_twelve_numbers_with_the_largest_effect_are_tuned():
    body = numbered(f"return {[1.5] * 20}")
    trials = Trials(Evaluations(evaluates(lambda *n: sum(weight * one for weight, one in enumerate(n)))), 200)
    (start,) = trials.score([body.text])
    assert start is not None
    assert sensitive_numbers(body, trials, start) == list(range(8, 20))


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.integers(0, 6))
def test_writing_with_few_digits_keeps_the_score(values: list[float], step: int):
    """Scores that are exact, as those of counts, stay exact; smooth ones lose a thousandth of the gain at most."""
    top = [round(value, 3) for value in values]

    def score(*numbers: float) -> float:
        error = sum(abs(one - best) / best for one, best in zip(numbers, top, strict=True))
        return -(error // (10.0**-step) if step else error)

    body = numbered(f"return {[5.5] * len(values)}")
    trials = Trials(Evaluations(evaluates(score)), 200)
    before, exact = trials.score([body.text, body.with_numbers({i: repr(one) for i, one in enumerate(top)})])
    assert before is not None
    assert exact is not None
    texts = fewest_digits(body, trials, dict(enumerate(top)), score=exact, start=before)
    (after,) = trials.score([body.with_numbers(texts)])
    assert after is not None
    assert after >= exact - 1e-3 * (exact - before)
    assert all(len(text) <= max(len(repr(one)), 3) for text, one in zip(texts.values(), top, strict=True))


# Evaluations are counted and remembered; variants that fall behind on the first input are not evaluated further


class Table:
    """Gives to each body the score that is written down for it."""

    def __init__(self, **scores: float | None) -> None:
        self.scores = scores
        self.asked: list[str] = []

    def __call__(self, bodies: Sequence[str]) -> list[float | None]:
        self.asked += bodies
        return [self.scores[body] for body in bodies]


ALL = Table(a=1.0, b=2.0, c=3.0, d=4.0, e=None)


@pytest.fixture(autouse=True)
def _fresh() -> None:
    ALL.asked.clear()


def test_with_the_last_answer_a_tuning_that_gains_goes_on_until_it_gains_no_more():
    """The score has a step that is found soon, and flat ground around it."""

    def score(first: float, second: float) -> float:
        return float(first > 2.2) + first * 1e-6 + second * 1e-6

    whole = Trials(Evaluations(evaluates(score)), 200)
    assert tune(numbered("return [2.0, 1.0]"), whole, seed=1, noise=0.5) is not None
    short = Trials(Evaluations(evaluates(score)), 200)
    short.is_last = lambda: short.gained_at is not None
    got = tune(numbered("return [2.0, 1.0]"), short, seed=1, noise=0.5)
    assert got is not None
    assert got.score > 1.0
    assert short.used < whole.used


def test_a_body_is_evaluated_once_and_counts_once():
    trials = Trials(Evaluations(ALL), 10)
    assert trials.score(["a", "b", "a", "e"]) == [1.0, 2.0, 1.0, None]
    assert trials.score(["b", "e"]) == [2.0, None]
    assert ALL.asked == ["a", "b", "e"]
    assert (trials.used, trials.left) == (3, 7)


def test_bodies_beyond_the_limit_fail():
    trials = Trials(Evaluations(ALL), 2)
    assert trials.score(["a", "b", "c"]) == [1.0, 2.0, None]
    assert trials.left == 0


def test_the_worse_half_on_the_first_input_is_not_evaluated_on_the_others():
    first = Table(a=9.0, b=8.0, c=7.0, d=6.0)
    trials = Trials(Evaluations(ALL, first), 10)
    scores = trials.race(["d", "a", "c", "b"], best=5.0)
    assert ALL.asked == ["a", "b"]
    assert scores[1] == 1.0
    assert scores[3] == 2.0
    assert scores[0] is not None
    assert scores[2] is not None
    assert scores[0] < scores[2] < 1.0, "they rank behind all others, in the order of the first input"
    assert trials.used == 4
    assert trials.score(["c"]) == [3.0], "an estimate is no score"


def test_variants_that_are_as_good_on_the_first_input_rank_in_their_order_and_not_by_the_hashes_of_this_process():
    bodies = [f"return {number}" for number in range(40)]
    equal = dict.fromkeys(bodies, 1.0)
    scores = Trials(Evaluations(Table(**equal), Table(**equal)), 100).race(bodies, best=5.0)
    behind = [score for score in scores[20:] if score is not None]
    assert len(behind) == 20
    assert behind == sorted(behind, reverse=True)


def test_a_failure_on_the_first_input_is_a_failure():
    first = Table(a=1.0, b=None, c=None, d=None)
    trials = Trials(Evaluations(ALL, first), 10)
    assert trials.race(["a", "b", "c", "d"], best=0.0) == [1.0, None, None, None]
    assert ALL.asked == ["a"]
    assert trials.used == 4


def test_few_variants_do_not_race():
    first = Table()
    assert Trials(Evaluations(ALL, first), 10).race(["a", "b"], best=0.0) == [1.0, 2.0]
    assert not first.asked


def test_validation_counts_too():
    trials = Trials(Evaluations(ALL, None, Table(a=5.0, b=6.0)), 10)
    assert trials.validation_scores(["a", "b"]) == [5.0, 6.0]
    assert trials.used == 2
    assert Trials(Evaluations(ALL), 10).validation_scores(["a"]) is None
