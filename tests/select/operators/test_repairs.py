"""Failed children of good bases are repaired: a share of the prompts, and each failure at most twice in a row."""

from __future__ import annotations

from random import Random

import pytest

from schemas.feedback import Feedback
from schemas.operators import Operator
from schemas.outcome import Outcome
from schemas.prompt_record import PromptRecord
from tasks.select.operators.follow_ups import Repairs


def answer(name: str, outcome: Outcome = Outcome.CRASHED, failed_id: str = "", body: str = "return x") -> Feedback:
    return Feedback("base", body, outcome, "", "", (), None, program_id=name, failed_id=failed_id)


def record(*answers: Feedback, operator: str = "refine") -> PromptRecord:
    return PromptRecord("0", operator, "m", answers)


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
        assert repairs.wanted(mine, 0.0, Random(0)) == mine.answers[-1]
        mine = repair(turn, mine.answers[-1].program_id)
    repairs.tell(mine)
    assert repairs.wanted(mine, 0.0, Random(0)) is None


@pytest.mark.parametrize("failing", [0.3, 1.0])
def test_repairs_keep_to_their_share_of_the_prompts(failing: float):
    repairs, rng, repaired = Repairs(0.2), Random(1), 0
    for number in range(2000):
        mine = record(answer(str(number), Outcome.CRASHED if rng.random() < failing else Outcome.SCORED))
        repairs.tell(mine)
        repaired += repairs.wanted(mine, 0.0, rng) is not None
    assert 0.17 < repaired / 2000 < 0.23


def test_with_a_share_of_nothing_nothing_is_repaired():
    mine = record(answer("a"))
    assert all(told(Repairs(0.0), mine).wanted(mine, 0.0, Random(seed)) is None for seed in range(50))
