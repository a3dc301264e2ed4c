"""Which of a night's best programs comes first: the best score, and of those that are level the simplest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from overnight.flows.night.finalists import Ranking
from overnight.schemas.objectives import Objectives
from overnight.schemas.program import Program
from overnight.testing.made import a_problem

START = Program("start", "return 0", (0.0,), 0.0)
LONG, SHORT, LONGEST = "value = offset + 6\nreturn value", "return offset + 6", "value = offset + 6\nreturn value + 0"


def a_ranking(rules: str | None = None, validation: tuple[int, ...] = (), **settings: Any) -> Ranking:
    problem = a_problem()
    settings = {"noise": 0.0, "reducer": "mean", **settings}
    confirm = problem.settings.sandbox.model_copy(update={"confirm": settings.pop("confirm", "best")})
    changed = problem.settings.model_copy(update={**settings, "sandbox": confirm})
    inputs: Any = {"train": (1, 2), "validation": validation, "held_out": ()}
    return Ranking.of(replace(problem, settings=changed, inputs=inputs), START, rules)


def program(name: str, body: str, score: float, **more: Any) -> Program:
    return Program(name, body, (score, float(len(name))), score, **{"is_confirmed": True, **more})


def first(ranking: Ranking, *programs: Program, validation: dict[str, float] | None = None) -> str:
    return ranking.ranked([START, *programs], validation or {})[0].id


@pytest.mark.parametrize(
    ("noise", "short", "more", "settings", "expected"),
    [
        pytest.param(0.0, 6.0, {}, {}, "short", id="equal"),
        pytest.param(0.0, 5.9, {}, {}, "long", id="worse"),
        pytest.param(0.0, 6.0 - 1e-15, {}, {}, "short", id="worse by rounding"),
        pytest.param(0.1, 5.9, {}, {}, "short", id="worse by the noise"),
        pytest.param(0.1, 5.8, {}, {}, "long", id="worse by more"),
        pytest.param(0.1, 5.8, {}, {"reducer": "sum"}, "short", id="the noise of two inputs"),
        pytest.param(0.0, 6.0, {"is_confirmed": False}, {}, "long", id="not confirmed"),
        pytest.param(0.0, 6.0, {"is_confirmed": False}, {"confirm": "never"}, "short", id="nothing is confirmed"),
        pytest.param(0.0, 6.0, {}, {"rules": "2"}, "long", id="recorded by an older version"),
        pytest.param(0.0, 6.0, {}, {"rules": "3"}, "short", id="recorded by this version"),
        pytest.param(0.0, 6.0, {"body": "no Python"}, {}, "long", id="not Python"),
        pytest.param(0.0, 6.0, {"body": LONGEST}, {}, "long", id="longer"),
    ],
)
def test_the_simplest_of_programs_that_are_level_comes_first(
    noise: float, short: float, more: dict[str, Any], settings: dict[str, Any], expected: str
):
    ranking, body = a_ranking(**{**settings, "noise": noise}), more.pop("body", SHORT)
    assert first(ranking, program("long", LONG, 6.0), program("short", body, short, **more)) == expected


@pytest.mark.parametrize(
    ("validation", "short", "expected"),
    [
        pytest.param({"long": 3.0, "short": 3.0}, 6.0, "short", id="level on both"),
        pytest.param({"long": 3.0, "short": 2.9}, 6.0, "short", id="within the noise"),
        pytest.param({"long": 3.0, "short": 2.8}, 6.5, "long", id="worse"),
        pytest.param({"long": 3.0}, 6.0, "long", id="fails"),
        pytest.param({"long": 3.0, "short": 3.0}, 5.8, "long", id="worse on the training inputs"),
        pytest.param({"long": 3.0, "short": 2.9}, 7.0, "short", id="better there"),
    ],
)
def test_with_validation_inputs_it_is_level_there_too_and_confirmed_later(
    validation: dict[str, float], short: float, expected: str
):
    ranking = a_ranking(noise=0.1, validation=(3,))
    programs = program("long", LONG, 6.0), program("short", SHORT, short, is_confirmed=False)
    assert first(ranking, *programs, validation={"start": 0.0, **validation}) == expected


def test_the_noise_does_not_add_up_along_a_line_of_programs():
    steps = [program(f"{place}", f"return {'+'.join('1' * (9 - place))}", 6.0 - 0.1 * place) for place in range(5)]
    assert first(a_ranking(noise=0.15), *steps) == "1"


@pytest.mark.parametrize(("score", "expected"), [(0.0, "start"), (0.05, "better"), (-0.05, "start")])
def test_the_start_program_stays_the_best_until_another_is_better(score: float, expected: str):
    assert first(a_ranking(noise=0.1), program("better", SHORT, score)) == expected


@pytest.mark.parametrize(("states", "expected"), [(8.0, "short"), (9.0, "short"), (10.0, "long")])
def test_no_objective_is_worse(states: float, expected: str):
    ranking = a_ranking(noise=0.1, objectives=Objectives(metrics={"states": "minimize"}))
    start = replace(START, metrics={"states": 1.0})
    long = program("long", LONG, 6.0, metrics={"states": 9.0})
    short = program("short", SHORT, 5.95, metrics={"states": states})
    assert ranking.ranked([start, long, short], {})[0].id == expected


@pytest.mark.parametrize(
    ("rules", "is_confirmed", "expected"), [(None, True, "short"), (None, False, "long"), ("2", True, "long")]
)
def test_of_equal_scores_on_all_inputs_the_simplest_is_a_finalist(rules: str | None, is_confirmed: bool, expected: str):
    long = program("long", LONG, 6.0)
    short = replace(long, id="short", body=SHORT, is_confirmed=is_confirmed)
    assert [one.id for one in a_ranking(rules).finalists([START, long, short])] == ["start", expected]


def test_where_validation_inputs_may_tell_these_apart_it_is_one_that_was_pruned_or_the_first():
    long, ranking = program("long", LONG, 6.0), a_ranking(validation=(3,))
    short = replace(long, id="short", body=SHORT)
    assert ranking.finalists([START, long, short]) == [START, long]
    pruned = replace(short, id="pruned", pruned_from="long")
    assert ranking.finalists([START, long, short, pruned]) == [START, pruned]


def test_what_scores_like_the_start_program_is_no_finalist():
    like = replace(START, id="like", body="0", is_confirmed=True)
    assert a_ranking().finalists([START, like]) == [START]


@pytest.mark.parametrize(
    ("held_out", "validation", "expected"),
    [
        pytest.param({"left": 1.0, "found": 1.0}, {}, ["left", "found"], id="equal"),
        pytest.param({"left": 2.0, "found": 1.0}, {}, ["left", "found"], id="better"),
        pytest.param({"left": 0.5, "found": 1.0}, {}, ["found", "left"], id="worse"),
        pytest.param({"found": 1.0}, {}, ["found", "left"], id="fails"),
        pytest.param({"left": 1.0}, {}, ["left", "found"], id="the program before fails"),
        pytest.param({"found": 1.0}, {"left": 1.0}, ["left", "found"], id="the program before is not validated"),
        pytest.param({"found": 1.0}, {"left": 1.0, "found": 1.0}, ["found", "left"], id="both are validated"),
    ],
)
def test_held_out_scores_only_refuse_what_pruning_made(
    held_out: dict[str, float], validation: dict[str, float], expected: list[str]
):
    ranking = a_ranking(validation=(1,) if validation else ())
    left, found = program("left", SHORT, 6.0, pruned_from="found"), program("found", LONG, 6.0)
    order = ranking.beside_original([left, START, found], found, validation, held_out)
    assert [one.id for one in order] == [*expected, "start"]


@pytest.mark.parametrize(("confirm", "expected"), [("best", "honest"), ("never", "unproven")])
def test_of_equal_scores_no_program_that_is_not_confirmed_is_shown_for_an_objective(confirm: str, expected: str):
    ranking = a_ranking(objectives=Objectives(metrics={"states": "minimize"}), confirm=confirm)
    honest = program("honest", LONG, 6.0, metrics={"states": 9.0})
    unproven = program("unproven", SHORT, 6.0, metrics={"states": 1.0}, is_confirmed=False)
    assert first(ranking, honest, unproven) == expected
    same = replace(unproven, scores=honest.scores)
    assert [one.id for one in ranking.finalists([START, honest, same])][1] == expected
