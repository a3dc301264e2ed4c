"""Hints, pins and drops while a search runs: which prompts they change, and that resume and replay repeat them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.flows.night.core import NightCore
from overnight.flows.night.interventions import Hints
from overnight.flows.night.rebuild import rebuild
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.algorithm import Turn
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Judged, Program
from overnight.schemas.sampling_settings import Model
from overnight.testing.made import NOW
from tests.flows.night.test_core import ALGORITHMS, EXAMPLES, START, files, made, seeds, starts
from tests.flows.night.world import Files, World

GENERATIONS = 6
Ask = Callable[[NightCore], Intervention | None]


def asked(kind: Kind, text: str = "", program_id: str = "", **more: Any) -> Intervention:
    name = f"{kind}-{text}-{program_id}-{more.get('generation', '')}"
    return Intervention(name, kind, NOW, "ada", text, program_id, **more)


def hint(text: str = "try a two-pass scheme", **more: Any) -> Intervention:
    return asked(Kind.HINT, text, **more)


def taken(hints: Hints, prompts: int = 12) -> list[str]:
    """Return the texts of the hints of the first prompts of generation 1."""
    found = [hints.take(Turn(1, index)) for index in range(prompts)]
    return [one.text or one.program_id if one else "" for one in found]


# Which prompts


def test_every_second_prompt_asks_for_a_hint_until_its_prompts_are_used_up():
    assert taken(Hints([hint("a", prompts=3, generation=1, prompt=2)])) == [
        "", "", "a", "", "a", "", "a", "", "", "", "", "",
    ]  # fmt: skip


def test_a_hint_is_in_force_until_it_is_withdrawn_and_a_later_one_goes_on():
    end = asked(Kind.WITHDRAWAL, generation=1, prompt=4)
    given = [hint("a", generation=1), end, hint("b", generation=1, prompt=7)]
    assert taken(Hints(given)) == ["a", "", "a", "", "", "", "", "b", "", "b", "", "b"]


def test_hints_and_pins_take_turns():
    given = [hint("a", generation=1), asked(Kind.PIN, program_id="p", generation=1)]
    assert taken(Hints(given), 8) == ["p", "", "a", "", "p", "", "a", ""]


def test_a_pin_of_a_program_that_is_not_there_takes_no_turn_of_others():
    hints = Hints([hint("a", generation=1), asked(Kind.PIN, program_id="p", generation=1)])
    turns = [hints.take(Turn(1, index), lambda _: False) for index in range(6)]
    assert [one.text if one else "" for one in turns] == ["a", "", "a", "", "a", ""]


def test_a_drop_is_no_hint():
    assert set(taken(Hints([asked(Kind.DROP, program_id="p")]))) == {""}


# Whole nights in a simulated world


def ask_hint(_: NightCore) -> Intervention:
    return hint(prompts=5)


def ask_pin(core: NightCore) -> Intervention:
    names = sorted(core.state.programs)
    return asked(Kind.PIN, program_id=names[len(names) // 2])


def ask_withdrawal(_: NightCore) -> Intervention:
    return asked(Kind.WITHDRAWAL)


def ask_drop(core: NightCore, **more: Any) -> Intervention | None:
    """Drop the best program of the committed ones."""
    best = core.state.best
    return None if best.id == core.state.start.id else asked(Kind.DROP, "it cheats", best.id, **more)


def ask_drop_of_a_family(core: NightCore) -> Intervention | None:
    return ask_drop(core, with_descendants=True)


ASKS: list[Ask] = [ask_hint, ask_pin, ask_withdrawal, ask_drop, ask_drop_of_a_family]


def unique(ask: Ask, number: int) -> Ask:
    def with_id(core: NightCore) -> Intervention | None:
        request = ask(core)
        return request and replace(request, id=str(number))

    return with_id


def a_world(
    algorithm: Any, *, liars: float = 0.3, chat: bool = True, in_flight: int = 6, start: Program = START
) -> World:
    made_files = files(algorithm, start=start)
    if chat:
        problem = made_files.run.problem
        sampling = problem.settings.sampling.model_copy(update={"models": (Model(name="openai/a"),)})
        problem = replace(problem, settings=problem.settings.model_copy(update={"sampling": sampling}))
        made_files = Files(replace(made_files.run, problem=problem), made_files.start)
    return World(made_files, seed=1, liars=liars, in_flight=in_flight)


def replayed(search: World) -> World:
    """Return a search that was told from the beginning what people ask for; it begins anew where programs go."""
    again = World(Files(search.files.run, search.files.start), search.seed, liars=search.liars)
    again.in_flight = search.in_flight
    again.files.interventions = list(search.files.interventions)
    places = {one.place for one in search.files.interventions if one.kind is Kind.DROP and one.place}
    for end in sorted({*places, len(search.files.commits)}):
        if end > (done := len(again.files.commits)):
            again.night(Random(0), StopConditions(generations=end - done))
    return again


events = st.integers(2, 110)


@given(
    seeds,
    st.sampled_from(ALGORITHMS),
    st.booleans(),
    st.lists(st.tuples(events, st.sampled_from(ASKS)), min_size=1, max_size=4),
    st.lists(events, max_size=10),
    st.sampled_from([None, *ASKS]),
    st.sampled_from([0.0, 0.01]),
    starts,
)
@settings(max_examples=EXAMPLES)
def test_what_people_ask_for_is_repeated_after_any_kill_and_by_a_replay(
    seed: int,
    algorithm: Any,
    chat: bool,
    wanted: list[tuple[int, Ask]],
    kills: list[int],
    between: Ask | None,
    faults: float,
    start: Program,
):
    search, order = a_world(algorithm, chat=chat, start=start), Random(seed)
    search.faults = faults
    asks = {at: unique(ask, number) for number, (at, ask) in enumerate(wanted)}
    for at in [*kills, None]:
        if (done := len(search.files.commits)) < GENERATIONS:
            search.night(order, StopConditions(generations=GENERATIONS - done), kill_at=at, asks=asks)
            if asks and between and (request := unique(between, -1)(search.core)):
                search.files.requests.append(request)
            asks = {}  # a later night is asked for nothing new
    assert len(search.files.commits) == GENERATIONS
    assert made(replayed(search).files.commits) == made(search.files.commits)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one["name"])
def test_a_dropped_program_is_not_shown_kept_or_best_any_more(algorithm: Any):
    search = a_world(algorithm)
    found = list[Intervention]()

    def drop(core: NightCore) -> Intervention | None:
        found.append(request := ask_drop(core) or pytest.fail("nothing was found"))
        return request

    search.night(Random(1), StopConditions(generations=8), asks={60: drop})
    (request,) = search.files.interventions
    dropped, history = request.program_id, search.files.history()
    assert request.place < 8
    after = [commit for commit in search.files.commits if commit.place and commit.place > request.place]
    assert all(commit.best.id != dropped for commit in after)
    late = [one for commit in after for one in commit.judged if asked_after(one, commit.number, request)]
    assert late
    assert all(dropped not in one.candidate.prompt.parent_ids for one in late)
    assert dropped not in history.programs
    alive = [
        program.id
        for niche in rebuild(search.files.run, history).algorithm.niches.values()
        for program in niche.programs
    ]
    assert dropped not in alive


def asked_after(one: Judged, generation: int, request: Intervention) -> bool:
    return (generation, one.candidate.prompt.index) >= request.begins


def test_what_is_built_on_a_dropped_family_in_flight_fails():
    search = a_world("greedy", liars=0.0, in_flight=10)
    search.night(Random(1), StopConditions(generations=6), asks={40: ask_drop_of_a_family})
    names = {one.program_id for one in search.files.interventions}
    place = search.files.interventions[0].place
    later = [one for commit in search.files.commits[place:] for one in commit.judged]
    children = [one for one in later if one.feedback().parent_id in names and one.candidate.body]
    assert children, "some were in flight"
    assert {one.verdict.outcome for one in children} <= {Outcome.UNCONFIRMED, Outcome.CRASHED, Outcome.DUPLICATE}
    assert any(one.verdict.outcome is Outcome.UNCONFIRMED for one in children)


def test_prompts_with_a_hint_say_it_and_their_gain_is_measured():
    search = a_world("greedy")
    search.night(Random(1), StopConditions(generations=5), asks={30: ask_hint})
    hinted = [
        one for commit in search.files.commits for one in commit.judged if one.candidate.prompt.operator == "hint"
    ]
    assert len({(one.id, one.candidate.prompt.index) for one in hinted}) == 5 * 2, "two samples each"
    assert all("try a two-pass scheme" in one.candidate.prompt.text for one in hinted)
    assert any(one.gain is not None for one in hinted)


def test_a_pinned_program_is_the_base_of_every_second_prompt():
    search = a_world("islands")
    pins = list[Intervention]()

    def pin(core: NightCore) -> Intervention:
        pins.append(request := ask_pin(core))
        return request

    search.night(Random(1), StopConditions(generations=6), asks={40: pin})
    (pinned,) = search.files.interventions
    late = [
        one.candidate.prompt
        for commit in search.files.commits
        for one in commit.judged
        if asked_after(one, commit.number, pinned)
    ]
    with_it = [prompt for prompt in late if prompt.operator == "hint"]
    assert len(with_it) >= len(late) / 2 - 2
    assert {prompt.parent_ids[-1] for prompt in with_it} == {pinned.program_id}
