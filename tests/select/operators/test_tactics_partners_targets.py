"""What is tried on stagnation, which program is combined with a base, and which programs are tuned."""

from __future__ import annotations

from schemas.operators import Operator
from schemas.program import Program
from tasks.select.operators.follow_ups import TuningTargets, shape_of
from tasks.select.operators.operator_choice import TACTICS, partner_of, stagnation_operator


def program(name: str, *scores: float, body: str = "") -> Program:
    return Program(name, body or f"return {name}", scores, sum(scores) / len(scores))


def test_a_search_stagnates_after_fifty_answers_or_a_tenth_of_all():
    assert stagnation_operator(49, 100, 1) is None
    assert stagnation_operator(50, 100, 1) == (Operator.TACTIC, TACTICS[4])
    assert stagnation_operator(99, 1000, 1) is None
    assert stagnation_operator(100, 1000, 1) is not None


def test_each_stretch_of_stagnation_begins_with_four_tactics_and_two_fresh_starts():
    found = [stagnation_operator(since, 100, 1) for since in range(50, 100)]
    assert [one[0] if one else None for one in found[:7]] == [*[Operator.TACTIC] * 4, *[Operator.FRESH] * 2, None]
    assert all(one is None for one in found[6:])
    assert len({one[1] for one in found[:4] if one}) == 4
    assert stagnation_operator(100, 100, 1) == (Operator.TACTIC, TACTICS[8]), "the next stretch has other tactics"


def test_with_several_answers_to_a_prompt_tactics_are_counted_in_prompts():
    found = [stagnation_operator(since, 100, 4) for since in range(50, 100, 4)]
    assert [one[0] if one else None for one in found[:6]] == [*[Operator.TACTIC] * 4, *[Operator.FRESH] * 2]


def test_the_partner_is_better_on_most_inputs_and_no_better_in_all():
    base, one, two = program("b", 5.0, 5.0, 5.0), program("1", 6.0, 0.0, 6.0), program("2", 4.9, 4.9, 5.1)
    better = program("3", 9.0, 9.0, 9.0)
    assert partner_of(base, [two, one, better]) == one
    assert partner_of(base, [two, better]) == two
    assert partner_of(base, [base, program("same", 5.0, 5.0, 5.0), better]) is None


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
    targets.tell_tuned(program("0", 0.0, body="return 1"), None, 100)
    targets.tell(99)
    assert targets.next([one]) is None
    targets.tell(1)
    assert targets.next([one]) == one
