"""Selection: one verdict a candidate whichever ran first, and only what is scored is registered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from schemas.algorithm import Join, Reset
from schemas.ids import program_id
from schemas.outcome import Outcome, Verdict
from schemas.program import Candidate, Program, reduce_scores
from schemas.settings import Reducer, Search
from tasks.select.selection_task import judge, register, select
from tests.history.made import a_judged
from tests.select.population import Population

SCORED = Verdict(Outcome.SCORED, (1.0, 3.0), wall_s=2.0)
START = Program("start", "return 0", (0.0, 0.0), 0.0)
Pair = tuple[Candidate, Verdict | None]


def candidate(index: int, body: str = "", *, verdict: Verdict | None = None, niche: str = "0") -> Candidate:
    made = a_judged("run", 1, index, body=body, niche=niche).candidate
    return Candidate(made.index, made.prompt, made.completion, made.body, made.code_hash, verdict)


def verdicts(pairs: list[Pair], reducer: Reducer = "mean") -> list[Verdict]:
    return [judged.verdict for judged in judge("run", 1, pairs, reducer)]


def test_ids_are_those_of_run_generation_and_place_and_scores_are_reduced():
    for reducer in ("mean", "last", "min", "sum"):
        judged = judge("run", 4, [(candidate(0, "return 1"), SCORED), (candidate(1, "return 2"), SCORED)], reducer)
        assert [one.id for one in judged] == [program_id("run", 4, 0), program_id("run", 4, 1)]
        assert [one.score for one in judged] == [reduce_scores((1.0, 3.0), reducer)] * 2


def test_of_equal_programs_the_first_in_order_keeps_the_verdict_whichever_ran_first():
    candidates = [candidate(index, "return 1") for index in range(3)]
    for ran, order in itertools.product(range(3), itertools.permutations(range(3))):
        pairs: list[Pair] = [(candidates[index], SCORED if index == ran else None) for index in order]
        judged = judge("run", 1, pairs, "mean")
        assert [one.candidate.index for one in judged] == [0, 1, 2]
        assert [one.verdict.outcome for one in judged] == [Outcome.SCORED, Outcome.DUPLICATE, Outcome.DUPLICATE]
        assert judged[0].verdict is SCORED
        assert [one.score for one in judged] == [2.0, None, None]


def test_a_fault_is_shared_out_the_same_way():
    crashed = Verdict(Outcome.CRASHED, error="ZeroDivisionError")
    pairs: list[Pair] = [(candidate(0, "return 1"), None), (candidate(1, "return 1"), crashed)]
    assert [verdict.outcome for verdict in verdicts(pairs)] == [Outcome.CRASHED, Outcome.DUPLICATE]


def test_where_the_sandbox_failed_no_equal_program_was_judged_and_none_is_called_a_duplicate():
    ours = Verdict(Outcome.SANDBOX_ERROR, error="the engine went away")
    pairs: list[Pair] = [(candidate(0, "return 1"), None), (candidate(1, "return 1"), ours)]
    assert verdicts(pairs) == [ours, ours]
    assert [one.score for one in judge("run", 1, pairs, "mean")] == [None, None]


def test_static_verdicts_stay_where_they_are():
    unparsable = Verdict(Outcome.UNPARSABLE, error="no function")
    known = Verdict(Outcome.DUPLICATE, error="judged earlier in this run")
    pairs: list[Pair] = [
        (candidate(3, verdict=unparsable), unparsable),
        (candidate(2, "return 2"), SCORED),
        (candidate(1, verdict=unparsable), unparsable),
        (candidate(0, "return 3"), known),
        (candidate(4, "return 3"), known),
    ]
    assert verdicts(pairs) == [known, unparsable, SCORED, unparsable, known]


def test_equal_programs_that_were_each_run_keep_each_their_own_verdict():
    other = Verdict(Outcome.TIMED_OUT, error="took more than 1 s")
    assert verdicts([(candidate(0, "return 1"), SCORED), (candidate(1, "return 1"), other)]) == [SCORED, other]


def test_finite_scores_that_add_up_to_no_float_are_a_bad_score_and_no_crash():
    huge = Verdict(Outcome.SCORED, (1.7e308, 1.7e308), wall_s=2.0)
    for reducer in ("mean", "sum"):
        (judged,) = judge("run", 1, [(candidate(0, "return 1"), huge)], reducer)
        assert (judged.verdict.outcome, judged.verdict.scores, judged.score) == (Outcome.BAD_SCORE, (), None)
        assert reducer in judged.verdict.error
    for reducer in ("min", "last"):
        (judged,) = judge("run", 1, [(candidate(0, "return 1"), huge)], reducer)
        assert judged.score == 1.7e308


def test_a_candidate_without_any_verdict_is_an_error():
    with pytest.raises((ValueError, KeyError)):
        judge("run", 1, [(candidate(0, "return 1"), None)], "mean")


def registered(judged: list[Any], best: Program = START, *, reset: bool = False, islands: int = 2):
    population = Population(Search.model_validate({"islands": islands}), START, seed=0)
    return register(judged, 1, population.algorithm, best, reset=reset), population


def test_unscored_children_are_never_registered():
    judged = [a_judged("run", 1, index, outcome=outcome) for index, outcome in enumerate(Outcome) if index]
    assert all(one.score is None for one in judged)
    judged.append(a_judged("run", 1, 99, scores=(-5.0, -5.0), niche="1"))
    selected, population = registered(judged)
    assert selected.changes == (Join("1", judged[-1].id),)
    assert [len(island.programs) for island in population.islands] == [1, 2]
    assert selected.judged == tuple(judged)
    with pytest.raises(ValueError, match="no score"):
        judged[0].program()


def test_the_best_is_the_first_of_equals_and_never_gets_worse():
    worse, equal, better, as_good = (
        a_judged("run", 1, index, scores=(score, score)) for index, score in enumerate((-1.0, 0.0, 4.0, 4.0))
    )
    assert registered([worse])[0].best is START
    assert registered([equal])[0].best is START
    assert registered([worse, better, as_good])[0].best == better.program()
    assert registered([])[0].best is START


def test_a_reset_comes_after_the_children():
    child = a_judged("run", 1, 0, scores=(1.0, 1.0), niche="1")
    assert registered([child], reset=True)[0].changes == (Join("1", child.id), Reset("0", child.id))


def test_registration_comes_before_the_commit_and_is_what_is_committed():
    child = a_judged("run", 1, 0, scores=(1.0, 1.0))
    committed = []
    selected = select.fn(lambda: registered([child])[0], committed.append)
    assert committed == [selected]
