"""What a run has kept: distinct bodies, the islands in turns, and its best whether they are alive or not."""

from __future__ import annotations

from schemas.program import Program
from schemas.search_settings import Search
from tasks.select.selection import surviving_programs
from tests.select.population import Population


def a_program(name: str, score: float, body: str | None = None) -> Program:
    return Program(name, body or f"return {name!r}", (score,), score)


START = a_program("start", 0.0)


def a_population() -> Population:
    population = Population(Search.model_validate({"algorithm": {"islands": 2}}), START, seed=1)
    first = [(0, a_program("a", 3.0)), (0, a_program("b", 2.0)), (0, a_program("c", 1.0))]
    second = [(1, a_program("d", 0.5)), (1, a_program("a2", 3.0, body="return 'a'"))]
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
