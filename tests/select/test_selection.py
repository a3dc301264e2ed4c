"""Selection: one verdict a candidate whichever ran first; only what is scored is registered; what a run has kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from overnight.schemas.algorithm import PromptResult
from overnight.schemas.ids import program_id
from overnight.schemas.objectives import Objectives
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import Candidate, Judged
from overnight.schemas.scores import reduce_scores
from overnight.schemas.search_settings import Search
from overnight.schemas.settings import Reducer
from overnight.tasks.select.selection import judge, record_of, results_of, surviving_programs
from overnight.testing.made import a_judged
from overnight.testing.population import Population
from tests.select.told import START
from tests.select.told import scored as a_program

SCORED = Verdict(Outcome.SCORED, (1.0, 3.0), wall_s=2.0)
Pair = tuple[Candidate, Verdict]


def candidate(index: int, body: str = "", *, verdict: Verdict | None = None, niche: str = "0") -> Candidate:
    made = a_judged("run", 1, index, body=body, niche=niche).candidate
    return Candidate(made.index, made.prompt, made.completion, made.body, made.code_hash, verdict)


def verdicts(pairs: list[Pair], reducer: Reducer = "mean") -> list[Verdict]:
    return [judged.verdict for judged in judge("run", 1, pairs, reducer, known=set())]


def test_ids_are_those_of_run_generation_and_place_and_scores_are_reduced():
    for reducer in ("mean", "last", "min", "sum"):
        judged = judge("run", 4, [(candidate(0, "return 1"), SCORED), (candidate(1, "return 2"), SCORED)], reducer)
        assert [one.id for one in judged] == [program_id("run", 4, 0), program_id("run", 4, 1)]
        assert [one.score for one in judged] == [reduce_scores((1.0, 3.0), reducer)] * 2


@pytest.mark.parametrize(
    ("metrics", "outcome", "says"),
    [
        ({"s": (1.0, 2.0)}, Outcome.SCORED, ""),
        ({"s": (8.0, 9.0)}, Outcome.OVER_LIMIT, "s is 8.5, and its limit is <= 4"),
        ({"s": (8.0, None)}, Outcome.BAD_SCORE, "expected the metric 's'"),
        ({}, Outcome.BAD_SCORE, "got of every input: none"),
    ],
)
def test_a_program_that_lacks_an_objective_or_breaks_a_limit_has_no_score(
    metrics: dict[str, tuple[float | None, ...]], outcome: Outcome, says: str
):
    verdict = replace(SCORED, metrics=metrics)
    (one,) = judge("run", 1, [(candidate(0), verdict)], "mean", objectives=Objectives(limits={"s": "<= 4"}))
    assert (one.verdict.outcome, one.score is None) == (outcome, outcome is not Outcome.SCORED)
    assert says in one.verdict.error


def test_of_equal_programs_the_first_in_order_keeps_the_verdict():
    candidates = [candidate(index, "return 1") for index in range(3)]
    for order in itertools.permutations(range(3)):
        judged = judge("run", 1, [(candidates[index], SCORED) for index in order], "mean", known=set())
        assert [one.candidate.index for one in judged] == [0, 1, 2]
        assert [one.verdict.outcome for one in judged] == [Outcome.SCORED, Outcome.DUPLICATE, Outcome.DUPLICATE]
        assert [one.score for one in judged] == [2.0, None, None]


def test_it_is_the_same_prompt_by_prompt():
    pairs = [(candidate(index, f"return {index % 3}"), SCORED) for index in range(9)]
    seen: dict[str, Verdict] = {}
    known = {pairs[2][0].code_hash}
    by_prompt = [judge("run", 1, [pair], "mean", known, seen) for pair in pairs]
    assert [one for judged in by_prompt for one in judged] == judge("run", 1, pairs, "mean", known)


def test_a_program_of_an_earlier_generation_is_a_duplicate_unless_duplicates_are_evaluated_again():
    pair = candidate(0, "return 1"), SCORED
    known = {pair[0].code_hash}
    assert [one.verdict.outcome for one in judge("run", 1, [pair], "mean", known)] == [Outcome.DUPLICATE]
    assert [one.verdict.outcome for one in judge("run", 1, [pair, pair], "mean", None)] == [Outcome.SCORED] * 2


def test_where_the_sandbox_failed_no_equal_program_was_judged_and_none_is_called_a_duplicate():
    ours = Verdict(Outcome.SANDBOX_ERROR, error="the engine went away")
    pairs: list[Pair] = [(candidate(0, "return 1"), ours), (candidate(1, "return 1"), ours)]
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
    ]
    assert verdicts(pairs) == [known, unparsable, SCORED, unparsable]


def test_finite_scores_that_add_up_to_no_float_are_a_bad_score_and_no_crash():
    huge = Verdict(Outcome.SCORED, (1.7e308, 1.7e308), wall_s=2.0)
    for reducer in ("mean", "sum"):
        (judged,) = judge("run", 1, [(candidate(0, "return 1"), huge)], reducer)
        assert (judged.verdict.outcome, judged.verdict.scores, judged.score) == (Outcome.BAD_SCORE, (), None)
        assert reducer in judged.verdict.error
    for reducer in ("min", "last"):
        (judged,) = judge("run", 1, [(candidate(0, "return 1"), huge)], reducer)
        assert judged.score == 1.7e308


def of_prompt(prompt: int, *judged: Judged) -> list[Judged]:
    """Return candidates as those of one prompt."""
    return [
        replace(one, candidate=replace(one.candidate, prompt=replace(one.candidate.prompt, index=prompt)))
        for one in judged
    ]


def test_a_result_has_the_base_the_scored_children_and_the_number_of_samples_with_a_verdict():
    failed = [a_judged("run", 1, index, outcome=outcome) for index, outcome in enumerate(Outcome) if index]
    assert all(one.score is None for one in failed)
    scored = [a_judged("run", 1, 90 + k, scores=(-5.0, k), niche="1", parents=["a", "b"]) for k in range(2)]
    judged = [*of_prompt(0, *failed), *of_prompt(1, *scored)]
    faults = sum(one.verdict.outcome is Outcome.SANDBOX_ERROR for one in judged)
    assert faults == 1
    assert results_of(judged) == [
        PromptResult("0", "", len(failed) - 1),
        PromptResult("1", "b", 2, tuple(one.program() for one in scored)),
    ]
    assert results_of([]) == []


@pytest.mark.parametrize(("costs", "cost"), [((0.5, 0.25), 0.75), ((None, 0.0), None), ((0.5, None), None)])
def test_the_price_of_a_prompt_is_known_if_that_of_all_answers_is(costs: Sequence[float | None], cost: float | None):
    record = record_of([a_judged("run", 1, index, cost_usd=each) for index, each in enumerate(costs)])
    assert record is not None
    assert record.cost_usd == cost


def test_a_candidate_without_a_score_is_no_program():
    judged = [a_judged("run", 1, 0, outcome=Outcome.CRASHED)]
    with pytest.raises(ValueError, match="no score"):
        judged[0].program()


def a_population() -> Population:
    population = Population(Search.model_validate({"algorithm": {"islands": 2}}), START, seed=1)
    first = [(0, a_program("a", 3.0)), (0, a_program("b", 2.0)), (0, a_program("c", 1.0))]
    second = [(1, a_program("d", 0.5)), (1, a_program("a2", 3.0, body="return a"))]
    population.tell(1, [*first, *second], reset=False)
    return population


def names(**more: object) -> dict[str, tuple[str, ...]]:
    arguments = {"best": [], "code_hash": str, **more}
    kept = surviving_programs(a_population().algorithm, START, **arguments)  # pyright: ignore[reportArgumentType]
    return {one.program.id: one.niches for one in kept}


def test_a_body_is_kept_once_with_all_islands_that_it_lives_on_and_the_start_program_is_left_out():
    assert names() == {"a": ("0", "1"), "b": ("0",), "c": ("0",), "d": ("1",)}
    assert list(names()) == ["a", "b", "c", "d"], "best first"


def test_where_there_are_too_many_the_islands_take_turns():
    assert list(names(most=3)) == ["a", "b", "d"]


def test_a_best_that_lives_nowhere_any_more_is_kept_first_with_the_island_it_was_born_on():
    assert names(best=[("1", a_program("gone", 9.0))], most=2) == {"gone": ("1",), "a": ("0", "1")}
