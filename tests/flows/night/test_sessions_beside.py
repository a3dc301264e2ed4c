"""Sessions of agents beside prompts, in simulated nights: nobody waits for them, and none is lost or bought twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.flows.night.events import Action, Ask, Confirm, Evaluated, Event, Failed
from overnight.flows.night.rebuild import rebuild
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.generation import StopReason
from overnight.schemas.program import PRUNER
from overnight.schemas.sampling_settings import Model
from overnight.tasks.sample.prompts import build_prompts
from tests.flows.night.test_core import ALGORITHMS, EXAMPLES, files, pruning, seeds, world
from tests.flows.night.world import AGENT, World


def beside_prompts(search: World) -> World:
    """Let an agent work beside the prompts of a search."""
    run = search.files.run
    settings = run.problem.settings
    models = (Model(name="openai/test"), Model(name=AGENT))
    sampling = settings.sampling.model_copy(update={"models": models})
    agent = settings.agent.model_copy(update={"evaluations": settings.search.samples - 1})
    problem = replace(run.problem, settings=settings.model_copy(update={"sampling": sampling, "agent": agent}))
    search.files.run = replace(run, problem=problem)
    return search


def require_same_prompts(search: World) -> None:
    """Require that the files say which prompts were asked."""
    run, history = search.files.run, search.files.history()
    plans = rebuild(run, history, lambda _: True).plans
    for commit in search.files.commits:
        mine = {turn.index: plan for turn, plan in plans.items() if turn.generation == commit.number and plan}
        again = build_prompts(mine, run.problem, seed=run.seed, generation=commit.number, start=history.start)
        texts = {one.index: (one.model, one.text) for one in again}
        asked = {one.candidate.prompt for one in commit.judged if one.candidate.prompt.model != PRUNER}
        assert {one.index: (one.model, one.text) for one in asked}.items() <= texts.items()


@given(
    seeds,
    st.sampled_from(ALGORITHMS),
    st.lists(st.integers(1, 120), max_size=3),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.03]),
    st.integers(1, 8),
    st.sampled_from([0.0, 9.0]),
)
@settings(max_examples=3 * EXAMPLES // 5)
def test_prompts_wait_for_no_agent_and_kills_and_failures_buy_no_session_twice(
    seed: int, algorithm: Any, kills: list[int], liars: float, faults: float, in_flight: int, seconds: float
):
    more = {"in_flight": in_flight, "liars": liars, "faults": faults, "seconds": seconds}
    lived = beside_prompts(world(algorithm, sessions=2, **more))
    for order, kill_at in enumerate([*kills, None]):
        done = sum(len(commit.judged) for commit in lived.files.commits)
        if done < 60 and lived.night(Random(seed + order), StopConditions(max_samples=60 - done), kill_at=kill_at):
            break
    commits = lived.files.commits
    of_agents = [one for commit in commits for one in commit.judged if one.candidate.prompt.model == AGENT]
    assert len(of_agents) == 2 * sum(commit.number in lived.files.sessions for commit in commits) > 0
    assert sum(len(commit.judged) for commit in commits) == 60
    assert not lived.files.open_sessions, "a night ends with the answers that are paid for"
    assert 0 < lived.most_sessions <= 2
    assert lived.asked == 60, "no answer is bought twice"
    numbers = [commit.number for commit in commits]
    assert kills or numbers != sorted(numbers), "others are committed before a session ends"
    require_same_prompts(lived)
    again = rebuild(lived.files.run, lived.files.history())
    for name, niche in lived.core.state.planner.algorithm.niches.items():
        assert again.algorithm.niches[name].programs == niche.programs


@given(seeds, st.integers(1, 150), st.integers(1, 150))
@settings(max_examples=2 * EXAMPLES // 5)
def test_agents_that_a_night_does_not_wait_for_go_on_in_the_next_one(seed: int, cut_at: int, interrupted_at: int):
    search = beside_prompts(pruning(world(in_flight=4, sessions=2)))
    assert search.night(Random(seed), StopConditions(max_samples=40), cut_at=cut_at)
    search.interrupted_at = search.seconds + interrupted_at
    assert search.night(Random(seed), StopConditions(max_samples=40))
    search.interrupted_at = inf
    assert search.night(Random(seed), StopConditions(generations=2))
    assert not search.files.open_sessions
    judged = [one for commit in search.files.commits for one in commit.judged if one.candidate.prompt.model != PRUNER]
    assert search.asked == len(judged), "no answer is bought twice, or lost"
    assert search.files.sessions.keys() <= {commit.number for commit in search.files.commits}
    require_same_prompts(search)


def bought_twice(search: World) -> list[tuple[int, int]]:
    """Return the prompts, by generation and index, of which two forms were paid for."""
    counts = Counter((number, index) for number, paid in search.files.paid.items() for index, _ in paid)
    return [prompt for prompt, forms in counts.items() if forms > 1]


def interrupt(search: World) -> StopConditions:
    search.interrupted_at = search.seconds
    return StopConditions()


@pytest.mark.parametrize(
    "ends",
    [lambda _: StopConditions(generations=1), lambda _: StopConditions(max_samples=4), interrupt],
    ids=["generations", "samples", "Ctrl-C"],
)
def test_a_killed_night_with_agents_that_is_resumed_for_a_moment_ends(ends: Callable[[World], StopConditions]):
    """What an agent handed back is not told before prompts that were paid for without it, nor waited for."""
    for seed in range(12):
        search = beside_prompts(world(in_flight=12, sessions=2))
        search.night(Random(seed), StopConditions(max_samples=60), kill_at=45 + seed)
        assert search.night(Random(seed), ends(search))
        search.interrupted_at = inf
        assert search.night(Random(seed), StopConditions(generations=3))
        assert not bought_twice(search)


@given(seeds, st.integers(20, 120), st.integers(1, 8), st.integers(9, 20))
@settings(max_examples=2 * EXAMPLES // 5)
def test_a_night_with_more_in_flight_begins_after_the_sessions_of_the_one_before(
    seed: int, kill_at: int, few: int, many: int
):
    search = beside_prompts(world(in_flight=few, sessions=2))
    assert search.night(Random(seed), StopConditions(max_samples=40))
    search.in_flight = many
    if not search.night(Random(seed), StopConditions(max_samples=40), kill_at=kill_at):
        assert search.night(Random(seed), StopConditions(generations=2))
    require_same_prompts(search)
    assert not bought_twice(search)


def test_a_session_that_is_tried_again_after_the_last_prompts_has_all_its_samples():
    """Its prompt counts among those of the night's generations from when it is put off."""
    for seed in range(60):
        search = beside_prompts(world(in_flight=4, sessions=2, faults=0.1))
        settings = search.files.run.problem.settings
        more = {"agent": settings.agent.model_copy(update={"evaluations": 5})}
        fewer = {"search": settings.search.model_copy(update={"prompts": 3})}
        problem = replace(search.files.run.problem, settings=settings.model_copy(update=more | fewer))
        search.files.run = replace(search.files.run, problem=problem)
        assert search.night(Random(seed), StopConditions(generations=3))
        sizes = {commit.number: len(commit.judged) for commit in search.files.commits}
        there = sizes.keys() & search.files.sessions.keys()  # one that the night does not wait for goes on in the next
        assert len(there) > 1, seed
        assert {sizes[number] for number in there} == {6}, seed


class BrokenAgent(World):
    """A world whose agent always fails."""

    def _done(self, action: Action, order: Random) -> list[Event]:
        if isinstance(action, Ask) and action.prompts[0].model == AGENT:
            return [Failed(action.attempt, ValueError("it is broken"))]
        return super()._done(action, order)


def test_an_agent_that_always_fails_is_given_up_while_prompts_go_on():
    search = beside_prompts(BrokenAgent(files(), seed=1, sessions=1))
    search.night(Random(1), StopConditions(max_samples=400))
    attempts = [one.number for one in search.files.failed_attempts]
    assert attempts[:4] == [1, 1, 1, 1] != attempts[1:5], "as often as any other generation"
    assert 1 in search.core.state.failed
    assert search.reason in (StopReason.SAMPLES, StopReason.FAILED)


def test_a_retry_leaves_agents_that_were_put_off_to_the_next_night():
    search = beside_prompts(BrokenAgent(files(), seed=1, sessions=1))
    search.night(Random(1), StopConditions(max_samples=100))
    (given_up, *_) = sorted(search.core.state.failed)
    whole = beside_prompts(world(sessions=1))
    whole.files = search.files
    assert whole.night(Random(1), StopConditions(), retried=(given_up,))
    assert given_up not in whole.core.state.failed
    assert given_up in [commit.number for commit in whole.files.commits]


def test_a_night_that_ends_at_its_target_waits_for_no_agent_and_is_pruned():
    search = beside_prompts(pruning(world(sessions=2, improves=True, in_flight=4)))
    search.night(Random(1), StopConditions(target=5000.0))
    assert search.reason is StopReason.TARGET
    assert search.files.open_sessions
    assert search.pruned == 1


def test_niches_are_reset_as_often_as_without_agents():
    islands: Any = {"name": "islands", "islands": 3, "reset_generations": 2}
    search = beside_prompts(world(islands, sessions=2, in_flight=4))
    search.night(Random(2), StopConditions(generations=12))
    resets = sum(commit.resets for commit in search.files.commits)
    prompts = sum(commit.prompts or 5 for commit in search.files.commits)
    assert resets >= prompts // 10 - 1


@dataclass
class Watched(World):
    """A world that notes, of each claim that an agent hands back, whether it is run again at once."""

    at_once: list[bool] = field(default_factory=list)
    claimed: int | None = None

    def _done(self, action: Action, order: Random) -> list[Event]:
        found = super()._done(action, order)
        for event in found:
            if isinstance(action, Ask) and isinstance(event, Evaluated) and action.number in self.core.state.put_off:
                best = max(one.score for one in self.core.state.niche_bests.values())
                scores = [score for _, verdict in event.pairs for score in verdict.scores]
                self.claimed = event.attempt if max(scores, default=-inf) > best else None
        return found

    def _next_done(self, pending: Sequence[tuple[Action, float]], order: Random) -> int:
        if self.claimed is not None:
            self.at_once.append(any(isinstance(one, Confirm) and one.attempt == self.claimed for one, _ in pending))
            self.claimed = None
        return order.randrange(len(pending))  # an agent takes no longer than a prompt


def test_what_an_agent_claims_is_confirmed_before_its_turn():
    """Prompts whose turn it is may take long, and a deadline may come before they are answered."""
    at_once = list[bool]()
    for seed in (3, 4, 5):
        search = Watched(files(), seed=seed, sessions=2, in_flight=4, improves=True)
        beside_prompts(search)
        search.night(Random(1), StopConditions(max_samples=200))
        at_once += search.at_once
    assert len(at_once) > 2
    assert all(at_once)
