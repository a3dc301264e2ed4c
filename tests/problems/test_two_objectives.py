"""Problems of two objectives: the whole front of one is known, and a bound of the other; neither is fooled."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.tasks.select.front import nondominated
from tests.bench.fronts import GENOMES
from tests.problems.library import execute, load, steps_of_revolve

STEPS = 100
"""Steps of the chain in `checkpointing`."""


@functools.cache
def fewest_steps(length: int, states: int) -> int:
    """The steps to go back through a segment with so many states at most, by trying all splits."""
    if length <= 1 or not states:
        return length * (length - 1) // 2
    return min(fewest_split(length, states, ahead) for ahead in range(1, length))


def fewest_split(length: int, states: int, ahead: int) -> int:
    return ahead + fewest_steps(length - ahead, states - 1) + fewest_steps(ahead, states)


def best_split(length: int, states: int) -> int:
    if length <= 1 or not states:
        return 0
    return min(range(1, length), key=lambda ahead: fewest_split(length, states, ahead))


def evaluate(split: Callable[[int, int], int], n: int = STEPS) -> tuple[int, int]:
    """The states and the steps of a rule."""
    program = execute("checkpointing")
    program["split"] = split
    found = program["evaluate"](n)
    return found["states"], -found["score"]


def test_the_front_of_checkpoints_is_the_published_one_and_rules_reach_all_of_it():
    front = [(states, fewest_steps(STEPS, states)) for states in range(STEPS - 1)]
    assert [steps for _, steps in front] == [steps_of_revolve(STEPS, states) for states, _ in front]
    assert all(nondominated([(-states, -steps) for states, steps in front]))
    best = load("checkpointing").settings.known.best
    assert best is not None
    assert front[-1] == (STEPS - 2, -best)
    for most, steps in (*front[:12], front[40], front[-1]):
        assert evaluate(lambda length, held, most=most: best_split(length, most - held)) == (most, steps)


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_no_rule_beats_the_front_of_checkpoints(random: Random, most: int):
    states, steps = evaluate(lambda length, held: random.randrange(length) if held < most else 0, 30)
    assert states <= most
    assert steps >= fewest_steps(30, states)


@pytest.mark.parametrize("answer", [-1, 100, float("nan"), float("inf"), None, "half"])
def test_a_split_that_is_none_is_refused(answer: object):
    with pytest.raises((ValueError, OverflowError, TypeError)):
        evaluate(lambda length, held: answer)  # pyright: ignore[reportArgumentType]


def most_hits(requests: list[int], size: int) -> int:
    """The hits of a cache that knows what will be asked, which no other has more of (Belady)."""
    later, upcoming = dict[int, float](), list[float]()
    for now in reversed(range(len(requests))):
        upcoming.append(later.get(requests[now], math.inf))
        later[requests[now]] = now
    cached, hits = dict[int, float](), 0
    for one, again in zip(requests, reversed(upcoming), strict=True):
        hits += one in cached
        cached[one] = again
        if len(cached) > size:
            del cached[max(cached, key=lambda kept: cached[kept])]
    return hits


def test_the_best_of_the_flash_cache_is_that_of_a_rule_which_knows_what_will_be_asked():
    program = execute("flash-cache")
    found = [
        100 * most_hits(program["draw_requests"](seed), program["SIZE"]) / program["REQUESTS"] for seed in (1, 2, 3)
    ]
    best = load("flash-cache").settings.known.best
    assert best is not None
    assert best - 1e-3 < np.mean(found) <= best


def test_the_requests_of_a_seed_never_change():
    requests = execute("flash-cache")["draw_requests"](1)
    assert len(requests) == 1200
    assert requests[:6] == [126, 67, 45, 171, 171, 152]
    assert [type(one) for one in requests[:6]] == [int] * 6
    single = [one for one in requests if one >= 400]
    assert len(set(single)) == len(single)
    assert 0.17 < len(single) / len(requests) < 0.23


def test_what_is_worth_least_is_not_kept_and_only_what_is_kept_is_written():
    program = execute("flash-cache")
    program["SIZE"] = 2
    asked = []

    def oldest(idle: np.ndarray, gap: np.ndarray, count: np.ndarray) -> np.ndarray:
        asked.append((idle.tolist(), gap.tolist(), count.tolist()))
        return -idle

    assert program["serve"]([7, 8, 7, 9, 8], oldest) == [[0, 0, 4, 1], [1, 1, 3, 0], [1, 3, 1200, 0], [0, 4, 1200, 0]]
    assert asked == [([1, 2, 0], [2, 1200, 1200], [2, 1, 1]), ([2, 1, 0], [2, 1200, 3], [2, 1, 2])]
    stays = program["serve"]([7, 8, 9, 9, 7], lambda idle, gap, count: np.where(idle == 0, -1, count))
    assert stays == [[0, 0, 1200, 1], [1, 1, 1200, 0]], "an object that is passed on is not written"


@pytest.mark.parametrize(
    "worth", [lambda idle, *_: 1.0, lambda idle, *_: idle[:-1], lambda idle, *_: idle[:, None]], ids=["1", "few", "2d"]
)
def test_worth_that_is_not_one_number_for_each_object_is_refused(worth: Callable[..., np.ndarray]):
    program = execute("flash-cache")
    program["worth"] = worth
    with pytest.raises(ValueError, match="one number for each"):
        program["evaluate"](1)


@pytest.mark.parametrize("name", GENOMES)
def test_the_rules_of_nsga2_begin_with_what_the_start_program_does(name: str):
    genome, program, problem = GENOMES[name], execute(name), load(name)
    (first, *_) = problem.inputs["train"]
    start = program["evaluate"](*first.args)
    program[genome.function] = genome.rule(np.array(genome.start))
    assert program["evaluate"](*first.args) == start
    assert len(genome.low) == len(genome.high) == len(genome.start)
