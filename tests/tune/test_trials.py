"""Evaluations are counted and remembered; variants that fall behind on the first input are not evaluated further."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from overnight.tasks.tune.tuning import Evaluations, Trials


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
