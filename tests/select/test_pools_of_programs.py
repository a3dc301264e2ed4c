"""Results become changes, and come back from them as far as an algorithm that records expansions learns from them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import Expand, Join, PromptResult, Reset
from overnight.tasks.select.pool import changes_of, results_in
from tests.select.told import program

PROGRAMS = {f"p{number}": program(f"p{number}", float(number)) for number in range(9)}


@st.composite
def results(draw: st.DrawFn) -> list[PromptResult]:
    found = []
    for _ in range(draw(st.integers(0, 6))):
        children = tuple(draw(st.lists(st.sampled_from([*PROGRAMS.values()]), max_size=3)))
        samples = len(children) + draw(st.integers(0, 3))
        found.append(PromptResult(draw(st.sampled_from("012")), draw(st.sampled_from("ab")), samples, children))
    return found


@given(results())
def test_results_come_back_from_their_changes(told: list[PromptResult]):
    changes = changes_of(told, expansions=True)
    assert [*results_in(changes, PROGRAMS)] == [result for result in told if result.samples]


def test_joins_without_an_expansion_or_of_another_niche_belong_to_no_prompt():
    one, two, three = [*PROGRAMS.values()][:3]
    changes = [
        Join("0", "p0"),
        Expand("0", "p0", 4),
        Join("0", "p1"),
        Join("1", "p2"),
        Reset("0", "p1"),
        Join("0", "p1"),
    ]
    assert [*results_in(changes, PROGRAMS)] == [
        PromptResult("0", "", 0, (one,)),
        PromptResult("0", "p0", 4, (two,)),
        PromptResult("1", "", 0, (three,)),
        PromptResult("0", "", 0, (two,)),
    ]
