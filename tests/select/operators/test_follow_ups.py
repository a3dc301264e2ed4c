"""Failed children of good bases are repaired, at most twice in a row; the best programs have their numbers tuned."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.tasks.select.operators.follow_ups import Repairs, TuningTargets, learned_share, shape_of
from tests.select.told import scored as program


def answer(name: str, outcome: Outcome = Outcome.CRASHED, failed_id: str = "", body: str = "return x") -> Feedback:
    return Feedback("base", body, outcome, "", "", (), None, program_id=name, failed_id=failed_id)


def record(*answers: Feedback, operator: str = "refine") -> PromptRecord:
    return PromptRecord("0", operator, "m", answers)


class Always(Random):
    """Draws that are below any share."""

    def random(self) -> float:
        return 0.0


def told(repairs: Repairs, *records: PromptRecord) -> Repairs:
    for one in records:
        repairs.tell(one)
    return repairs


def test_a_failed_child_of_a_good_base_is_repaired():
    mine = record(answer("a"))
    assert told(Repairs(1.0), mine).wanted(mine, 0.2, Random(0)) == mine.answers[0]
    assert told(Repairs(1.0), mine).wanted(mine, 0.3, Random(0)) is None, "the base is not among the best quarter"


@pytest.mark.parametrize("outcome", [Outcome.SCORED, Outcome.DUPLICATE, Outcome.REJECTED, Outcome.SANDBOX_ERROR])
def test_only_a_program_that_failed_by_itself_is_repaired(outcome: Outcome):
    mine = record(answer("a", outcome))
    assert told(Repairs(1.0), mine).wanted(mine, 0.0, Random(0)) is None


def test_an_answer_without_a_program_cannot_be_repaired():
    mine = record(answer("a", Outcome.UNPARSABLE, body=""))
    assert told(Repairs(1.0), mine).wanted(mine, 0.0, Random(0)) is None


@pytest.mark.parametrize("samples", [1, 4])
def test_a_failure_is_repaired_twice_in_a_row_at_most(samples: int):
    def repair(turn: int, failed_id: str) -> PromptRecord:
        return record(*(answer(f"{turn}.{k}", failed_id=failed_id) for k in range(samples)), operator=Operator.REPAIR)

    repairs = Repairs(1.0)
    mine = record(*(answer(f"0.{k}") for k in range(samples)))
    for turn in (1, 2):
        repairs.tell(mine)
        assert repairs.wanted(mine, 0.0, Always()) == mine.answers[-1]
        mine = repair(turn, mine.answers[-1].program_id)
    repairs.tell(mine)
    assert repairs.wanted(mine, 0.0, Always()) is None


@pytest.mark.parametrize("failing", [0.3, 1.0])
def test_repairs_keep_to_their_share_of_the_prompts(failing: float):
    repairs, rng, repaired = Repairs(0.2), Random(1), 0
    for number in range(2000):
        mine = record(answer(str(number), Outcome.CRASHED if rng.random() < failing else Outcome.SCORED))
        repairs.tell(mine)
        repaired += repairs.wanted(mine, 0.0, rng) is not None
    assert 0.17 < repaired / 2000 < 0.23


def test_after_thirty_repairs_that_scored_nothing_one_answer_in_fifty_is_one_and_more_once_they_work():
    def share(*repaired: Outcome) -> float:
        repairs, rng = Repairs(0.2), Random(1)
        for number, outcome in enumerate(repaired):
            score = 1.0 if outcome is Outcome.SCORED else None
            repairs.tell(record(replace(answer(f"r{number}", outcome), score=score), operator=Operator.REPAIR))
        mine = record(answer("a"))
        told(repairs, *[record(answer(str(number))) for number in range(50)], mine)
        return sum(repairs.wanted(mine, 0.0, rng) is not None for _ in range(4000)) / 4000

    assert 0.17 < share() < 0.23
    assert share(*[Outcome.CRASHED] * 30) <= 0.025
    assert share(*[Outcome.CRASHED] * 30, *[Outcome.SCORED] * 10) > 0.1
    assert learned_share(0.2, 0, 30) <= 0.02


def test_with_a_share_of_nothing_nothing_is_repaired():
    mine = record(answer("a"))
    assert all(told(Repairs(0.0), mine).wanted(mine, 0.0, Random(seed)) is None for seed in range(50))


def test_the_best_programs_are_tuned_once_each():
    one, two = program("1", 1.0, body="return 2 * x"), program("2", 2.0, body="return x + 3.5e1")
    targets = TuningTargets(1.0)
    targets.note(two)
    assert targets.next([one]) == two
    targets.tell_tuned(two, program("t", 3.0, body="return x + 12.5"), 50)
    assert targets.next([program("t", 3.0, body="return x + 12.5"), one]) == one
    targets.tell_tuned(one, None, 10)
    assert targets.next([one]) is None


def test_a_shape_is_tuned_again_from_numbers_that_are_better_than_the_tuned_ones():
    targets = TuningTargets(1.0)
    targets.tell_tuned(program("1", 1.0, body="return 2 * x"), program("t", 3.0, body="return 7 * x"), 1)
    targets.note(program("2", 2.0, body="return 5 * x"))
    assert targets.next([]) is None
    better = program("3", 4.0, body="return 40 * x")
    targets.note(better)
    assert targets.next([]) == better


def test_programs_without_numbers_and_copies_that_differ_in_numbers_are_not_tuned():
    targets = TuningTargets(1.0)
    assert targets.next([program("1", 1.0, body="return x1 + y")]) is None
    targets.tell_tuned(program("1", 1.0, body="return 2 * x"), None, 1)
    assert targets.next([program("2", 1.0, body="return 2.5 * x")]) is None
    assert shape_of("a1 = 1.5e-3 + b[2]") == "a1 = # + b[#]"


def test_only_the_best_shapes_of_the_run_are_tuned_each_with_its_best_numbers():
    targets = TuningTargets(1.0)
    for score in range(30):
        targets.note(program(f"low {score}", score / 100, body=f"return {score} * x"))
    assert targets.next([]) == program("low 29", 0.29, body="return 29 * x")
    for score in range(30):
        targets.note(program(str(score), float(score), body=f"return {'x + ' * score}2"))
    targets.tell(1_000)
    for _ in range(20):
        target = targets.next([])
        assert target is not None
        targets.tell_tuned(target, None, 1)
    assert targets.next([]) is None


def test_without_a_share_nothing_is_tuned():
    targets = TuningTargets(0.0)
    targets.tell(100)
    assert targets.next([program("1", 1.0, body="return 2 * x")]) is None


def test_tuning_keeps_to_its_share_of_the_evaluations():
    one = program("1", 1.0, body="return 2 * x")
    targets = TuningTargets(0.5)
    assert targets.next([one]) == one, "the first needs no answers before it"
    zero = program("0", 0.0, body="return 1")
    targets.tell_tuned(zero, zero, 100)
    targets.tell(99)
    assert targets.next([one]) is None
    targets.tell(1)
    assert targets.next([one]) == one


def test_tuning_that_brings_nothing_gets_less():
    one, zero = program("1", 1.0, body="return 2 * x"), program("0", 0.0, body="return 1")
    targets = TuningTargets(0.5)
    targets.tell(1_000)
    for _ in range(30):
        targets.tell_tuned(zero, None, 5)
    assert targets.next([one]) is None, "150 of 1,150 evaluations"
    targets.tell(4_000)
    assert targets.next([one]) == one
