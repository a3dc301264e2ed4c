"""Tree search: values of states worked out by hand, selections in flight, blocked lineages, and what is kept."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import Turn
from overnight.schemas.program import Program
from overnight.tasks.select.tree import PUCT, UCT, InFlight, State, Tree
from tests.select.told import START, ask, ids, in_flight, make, program, tell


def tree(**settings: Any) -> Tree:
    """A tree whose start program (0) has the children a (1) and b (3)."""
    made = make("tree", **settings)
    tell(made, "start", program("a", 1.0), program("b", 3.0), samples=4)
    return made


def other(name: str, score: float) -> Program:
    """A program whose scores on single inputs are those of no other."""
    place = int.from_bytes(name.encode(), "big") % 9973 / 10_000
    return program(name, score, signature=(score + place, score - place))


def values(made: Tree) -> dict[str, float]:
    key = PUCT(made._states)._key(InFlight())
    return dict(zip(ids([one.program for one in made._states]), [key(one)[0] for one in made._states], strict=True))


# PUCT


def test_values_by_hand():
    # T = 1, so √(1 + T) = 1.414214. The scale is 3 − 1 = 2: the start program does not count. By rank, P is 3/6 of b,
    # 2/6 of a and 1/6 of the start program.
    # start: Q is its best child, 3; n = 1: 3 + 2 · 1/6 · 1.414214 / 2 = 3.235702
    # a:     Q is its own score:             1 + 2 · 2/6 · 1.414214 / 1 = 1.942809
    # b:                                     3 + 2 · 3/6 · 1.414214 / 1 = 4.414214
    assert values(tree()) == pytest.approx({"start": 3.235702, "a": 1.942809, "b": 4.414214}, abs=1e-6)
    assert ask(tree())[0].base.id == "b"


def test_a_failed_expansion_counts_for_the_state_and_its_ancestors_and_leaves_its_own_score():
    made = tree()
    tell(made, "b", samples=4)
    # T = 2, √3 = 1.732051; n of b is 1 and n of the start program 2.
    # start: 3 + 2 · 1/6 · 1.732051 / 3 = 3.192450; a: 1 + 2 · 2/6 · 1.732051 = 2.154701; b: 3 + 1.732051 / 2 = 3.866025
    assert values(made) == pytest.approx({"start": 3.192450, "a": 2.154701, "b": 3.866025}, abs=1e-6)


def test_q_is_the_best_direct_child_even_if_it_is_worse_or_the_grandchild_better():
    made = tree()
    tell(made, "b", program("c", 2.0))
    tell(made, "c", program("d", 5.0))
    # T = 3, √4 = 2; scale 5 − 1 = 4; five states: P is 5/15 of d, 4/15 of b, 3/15 of c, 2/15 of a, 1/15 of the start.
    # start: 3 + 4 · 1/15 · 2 / 4 = 3.133333   (n = 3; its best direct child is b)
    # a:     1 + 4 · 2/15 · 2 / 1 = 2.066667
    # b:     2 + 4 · 4/15 · 2 / 3 = 2.711111   (n = 2; its child c scored 2)
    # c:     5 + 4 · 3/15 · 2 / 2 = 5.8        (n = 1)
    # d:     5 + 4 · 5/15 · 2 / 1 = 7.666667
    expected = {"start": 3.133333, "a": 2.066667, "b": 2.711111, "c": 5.8, "d": 7.666667}
    assert values(made) == pytest.approx(expected, abs=1e-6)


def test_prompts_in_flight_count_as_expansions():
    made = make("tree")
    tell(made, "start", program("a", 2.0), program("b", 3.0))
    # Scale 1; scale · P is 1/2 of b, 1/3 of a and 1/6 of the start program, which has b as its best child.
    # With k prompts of b in flight T = 1 + k: b 3 + √(2 + k) / 2 / (1 + k), a 2 + √(2 + k) / 3, start less than b.
    # k = 10: b 3.157, a 3.155; k = 11: b 3.150, a 3.202
    assert in_flight(made, 12) == ["b"] * 11 + ["a"]
    assert in_flight(made, 1) == ["b"], "nothing is kept of them"


def test_a_state_alone_and_equal_states_are_selected():
    made = make("tree")
    assert in_flight(made, 3) == ["start"] * 3
    tell(made, "start", other("a", 0.0), other("b", 0.0))
    # The scale is at least 1e-6: start 1e-6 · 3/6 · √2 / 2 = 3.5e-7, since it was expanded; a 1e-6 · 2/6 · √2 = 4.7e-7
    assert in_flight(made, 1) == ["a"]


@st.composite
def told(draw: st.DrawFn) -> list[tuple[int, list[float]]]:
    """Prompts: which of the programs so far was the base, and the scores of the children, of which two are kept."""
    score = st.integers(-4, 4).map(float)
    return draw(st.lists(st.tuples(st.integers(0, 99), st.lists(score, max_size=2)), max_size=12))


@given(told())
def test_values_are_those_of_the_formula(prompts: list[tuple[int, list[float]]]):
    made, parents, scores = make("tree"), {"start": ""}, {"start": 0.0}
    expansions: list[str] = []
    for number, (place, children) in enumerate(prompts):
        base = list(parents)[place % len(parents)]
        programs = [other(f"{number}.{k}", score) for k, score in enumerate(children)]
        tell(made, base, *programs, samples=4)
        expansions.append(base)
        parents |= {child.id: base for child in programs}
        scores |= {child.id: child.score for child in programs}

    def at_or_below(name: str, top: str) -> bool:
        return name == top or (bool(parents[name]) and at_or_below(parents[name], top))

    others = [score for name, score in scores.items() if name != "start"] or [0.0]
    scale = max(max(others) - min(others), 1e-6)
    ranked = sorted(scores, key=lambda name: -scores[name])
    expected = {}
    for name, score in scores.items():
        n = sum(at_or_below(base, name) for base in expansions)
        own = [scores[child] for child, parent in parents.items() if parent == name]
        prior = (len(ranked) - ranked.index(name)) / (len(ranked) * (len(ranked) + 1) / 2)
        expected[name] = max(own, default=score) + scale * prior * math.sqrt(1 + len(expansions)) / (1 + n)
    assert values(made) == pytest.approx(expected)


# What is shown and kept


def test_neither_ancestors_nor_descendants_are_shown_with_a_base():
    made = tree(parents=4)
    tell(made, "b", program("c", 2.5))
    tell(made, "a", program("d", 1.5))
    # T = 3, √4 = 2; scale 2; P is 5/15 of b, 4/15 of c, 3/15 of d, 2/15 of a, 1/15 of the start program.
    # c: 2.5 + 2 · 4/15 · 2 = 3.57; start: 3 + 2 · 1/15 · 2 / 4 = 3.07; b: 2.5 + 2 · 5/15 · 2 / 2 = 3.17
    # d: 1.5 + 2 · 3/15 · 2 = 2.3; a: 1.5 + 2 · 2/15 · 2 / 2 = 1.77
    # The base is c, which blocks b and the start program; d comes next, which blocks a.
    assert ids(ask(made)[0].shown) == ["d", "c"]


def test_of_a_prompt_the_two_best_children_are_kept_and_all_are_registered():
    made = make("tree")
    tell(made, "start", program("a", 1.0), program("b", 3.0), program("c", 2.0), program("d", 2.0))
    assert [state.program.id for state in made._states] == ["start", "b", "c"]
    assert ids(made.niches["0"].programs) == ["start", "a", "b", "c", "d"]


def test_the_best_states_are_kept_and_the_start_and_of_equals_the_newer():
    made = tree(states=3)
    tell(made, "b", other("c", 3.0), program("d", 2.0))
    assert [state.program.id for state in made._states] == ["start", "b", "c"]
    tell(made, "c", other("e", 3.0))
    assert [state.program.id for state in made._states] == ["start", "c", "e"]
    assert [state.program.id for state in made._states[2].lineage()] == ["e", "c", "b", "start"]


def test_programs_that_score_the_same_on_every_input_share_a_state_which_shows_the_shortest():
    made = make("tree")
    tell(made, "start", program("a", 1.0, body="return 10 - 9", signature=(0.0, 2.0)), samples=4)
    tell(made, "a", program("longer", 1.0, body="return 100 - 99", signature=(0.0, 2.0)), samples=4)
    assert [state.program.id for state in made._states] == ["start", "a"]
    tell(made, "longer", program("shorter", 1.0, body="return 1", signature=(0.0, 2.0)), samples=4)
    tell(made, "a", program("elsewhere", 1.0, signature=(2.0, 0.0)), samples=4)
    assert [state.program.id for state in made._states] == ["start", "shorter", "elsewhere"]
    start, shared, elsewhere = made._states
    assert (start.expansions, shared.expansions) == (4, 3), "whichever of them was expanded"
    assert elsewhere.parent is shared


@given(st.integers(0, 10_000), st.sampled_from(["puct", "uct"]))
def test_there_are_never_too_many_states_and_nothing_related_is_shown(seed: int, variant: str):
    random, made = Random(seed), make("tree", variant=variant, states=6, parents=3)
    for number in range(12):
        plan = made.ask(Turn(1, number, random.randrange(4)))
        children = [program(f"{number}.{k}", random.choice((-1.0, 0.0, 0.5, 2.0))) for k in range(random.randrange(3))]
        tell(made, plan.base.id, *children, samples=3)
        states = {state.program.id: state for state in made._states}
        assert len(states) <= 6
        assert made._states[0].program == START
        shown = [states[one.id] for one in ask(made)[0].shown]
        assert not any(one.is_related(other) for one in shown for other in shown if one is not other)


# UCT


def test_uct_by_hand():
    made = tree(variant="uct")
    # Visits of the start program: 2; ⌊√2⌋ = 1 is not more than its 2 children. Q: a 1, b 3, start 3.
    # a: 0 + 0.1 · √(ln 3 / 1) = 0.104815; b: 1 + 0.104815
    rule, pending = UCT(made._states), InFlight()
    _, a, b = made._states
    assert [rule.value(a, 2, pending), rule.value(b, 2, pending)] == pytest.approx([0.104815, 1.104815], abs=1e-6)
    pending.update(b.lineage())
    # With an expansion of b in flight: visits of the start program 3, of b 2: b: 1 + 0.1 · √(ln 4 / 2) = 1.083255
    assert rule.value(b, 3, pending) == pytest.approx(1.083255, abs=1e-6)


def test_uct_widens_when_the_root_of_the_visits_is_more_than_the_children():
    # Visits of the start program are 2 and one more for each prompt in flight. With 9 of them, ⌊√9⌋ = 3 > 2 children.
    assert in_flight(tree(variant="uct"), 8) == ["b"] * 7 + ["start"]


def test_uct_takes_over_the_best_quality_from_below():
    made = tree(variant="uct")
    tell(made, "a", program("c", 9.0))
    # Q of a is that of c, 9. Visits of the start program: 3, ⌊√3⌋ = 1; a is entered, which has 2 visits and 1 child,
    # ⌊√2⌋ = 1: c, which has no children, is expanded.
    assert in_flight(made, 1) == ["c"]


def test_uct_goes_no_deeper_than_ten():
    states = [State(START)]
    for number in range(1, 15):
        states.append(State(program(f"p{number}", float(number)), states[-1]))
    assert UCT(states).select(InFlight()).program.id == "p10"


def test_uct_shows_the_best_of_other_lineages():
    made = tree(variant="uct", parents=3)
    assert ids(ask(made)[0].shown) == ["a", "b"]


def test_children_of_a_dropped_state_belong_to_its_nearest_ancestor():
    made = tree(variant="uct", states=3)
    tell(made, "a", program("c", 9.0))  # a is the worst, and dropped
    assert [state.program.id for state in made._states] == ["start", "b", "c"]
    assert in_flight(made, 1) == ["c"]


def test_scores_of_any_size_have_values():
    for variant in ("puct", "uct"):
        made = make("tree", variant=variant)
        huge = [Program(f"{score}", "x", (score,), score) for score in (1.7e308, -1.7e308)]
        tell(made, "start", *huge)
        assert in_flight(made, 1) == ["1.7e+308"]
