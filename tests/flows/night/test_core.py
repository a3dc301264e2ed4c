"""The core of a night: thousands of simulated nights, whatever arrives first, fails or is killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overnight.flows.night.events import Action, Ask, Clock, Commit, Cut, Ended, Event, Failed
from overnight.flows.night.rebuild import rebuild
from overnight.flows.night.retry_policy import LONGEST_WAIT_S, RetryPolicy
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.algorithm import Correct
from overnight.schemas.errors import HistoryGone, Outage
from overnight.schemas.generation import GenerationRecord, StopReason
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import NO_SCORE, TUNER, Candidate, Judged, Program, Prompt
from overnight.testing.made import NOW, a_problem, a_run
from tests.flows.night.world import Files, World

START = Program("start", "return 0", (-9.0, -9.0), -9.0)
STUB = Program("start", "...", (), NO_SCORE)
"""What stands for the start program where there is none."""

ALGORITHMS: list[Any] = [
    {"name": "greedy"},
    {"name": "islands", "islands": 3, "reset_generations": 2},
    {"name": "tree", "states": 6},
    {"name": "map-elites", "first_programs": 9, "centroids": 3},
    {"name": "weighted", "archive": 5},
    {"name": "halving", "budget": 60, "searches": 3},
]
EXAMPLES = settings().max_examples
"""Examples of a property."""

seeds = st.integers(0, 10**6)
starts = st.sampled_from([START, STUB])


def files(
    algorithm: Any = "greedy", *, prompts: int = 5, samples: int = 2, start: Program = START, seconds: float = 0
) -> Files:
    problem = a_problem(algorithm=algorithm, prompts=prompts, samples=samples, seconds=seconds)
    settings = problem.settings
    sandbox = settings.sandbox.model_copy(update={"confirm": "best"})
    problem = replace(problem, settings=settings.model_copy(update={"sandbox": sandbox}))
    return Files(a_run("toy", problem), start)


def pruning(search: World) -> World:
    """Let the nights of a search prune their best program."""
    run = search.files.run
    settings = run.problem.settings
    wanted = settings.search.model_copy(update={"prune": 10})
    problem = replace(run.problem, settings=settings.model_copy(update={"search": wanted}))
    search.files.run = replace(run, problem=problem)
    return search


def made(commits: list[GenerationRecord]) -> list[Any]:
    """Return what a history says, without times."""
    return [
        (commit.number, commit.changes, [(replace(one, candidate=one.candidate)) for one in commit.judged], commit.best)
        for commit in commits
    ]


def world(algorithm: Any = "greedy", *, start: Program = START, seconds: float = 0, **more: Any) -> World:
    return World(files(algorithm, start=start, seconds=seconds), **{"seed": 1, **more})


@given(seeds, seeds, st.sampled_from(ALGORITHMS), st.integers(1, 12), st.sampled_from([0.0, 0.3]))
@settings(max_examples=3 * EXAMPLES // 5)
def test_what_arrives_first_makes_no_difference(first: int, second: int, algorithm: Any, in_flight: int, liars: float):
    one, other = (world(algorithm, in_flight=in_flight, liars=liars) for _ in range(2))
    assert one.night(Random(first), StopConditions(generations=4))
    assert other.night(Random(second), StopConditions(generations=4))
    assert one.reason is StopReason.GENERATIONS
    assert made(one.files.commits) == made(other.files.commits)
    assert [commit.number for commit in one.files.commits] == [1, 2, 3, 4]


@given(
    seeds, st.sampled_from(ALGORITHMS), st.lists(st.integers(1, 120), max_size=3), st.sampled_from([0.0, 0.3]), starts
)
@settings(max_examples=3 * EXAMPLES // 5)
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(
    seed: int, algorithm: Any, kills: list[int], liars: float, start: Program
):
    whole, killed = (world(algorithm, in_flight=6, liars=liars, start=start) for _ in range(2))
    whole.night(Random(seed), StopConditions(generations=5))
    for at in kills:
        done = len(killed.files.commits)
        if done < 5 and killed.night(Random(seed), StopConditions(generations=5 - done), kill_at=at):
            break
    if (done := len(killed.files.commits)) < 5:
        assert killed.night(Random(seed + 1), StopConditions(generations=5 - done))
    assert made(killed.files.commits) == made(whole.files.commits)
    assert killed.asked == whole.asked, "no answer is bought twice"
    assert killed.evaluated == killed.asked, "no answer is evaluated twice"


@given(seeds, st.sampled_from(ALGORITHMS), st.sampled_from([0.0, 0.3]))
@settings(max_examples=3 * EXAMPLES // 5)
def test_outages_cost_attempts_and_change_nothing(seed: int, algorithm: Any, liars: float):
    quiet, stormy = world(algorithm, liars=liars), world(algorithm, liars=liars, faults=0.02)
    quiet.night(Random(seed), StopConditions(generations=4))
    stormy.night(Random(seed), StopConditions(generations=4))
    assert made(stormy.files.commits) == made(quiet.files.commits)
    assert stormy.asked == quiet.asked
    assert stormy.lost_since is None, "every pause has an end"


@given(
    seeds,
    st.sampled_from(ALGORITHMS),
    st.lists(st.integers(1, 120), max_size=3),
    st.sampled_from([0.0, 0.3]),
    starts,
    st.sampled_from([0.0, 0.03]),
)
@settings(max_examples=3 * EXAMPLES // 5)
def test_generations_end_early_and_their_recorded_lengths_repeat_the_search(
    seed: int, algorithm: Any, kills: list[int], liars: float, start: Program, faults: float
):
    """A block of samples is one of time, too: which ended when is recorded, so that a replay needs no clock."""
    lived = world(algorithm, in_flight=6, liars=liars, start=start, seconds=9.0, faults=faults)
    for order, kill_at in enumerate([*kills, None]):
        done = sum(len(commit.judged) for commit in lived.files.commits)
        if done < 50 and lived.night(Random(seed + order), StopConditions(max_samples=50 - done), kill_at=kill_at):
            break
    assert faults or any(commit.prompts for commit in lived.files.commits)
    assert all(lived.files.lengths.get(commit.number) == commit.prompts for commit in lived.files.commits)
    assert lived.asked == 50, "no answer is bought twice"
    repeated = world(algorithm, in_flight=6, liars=liars, start=start)
    repeated.files.lengths.update(lived.files.lengths)
    repeated.night(Random(seed + 7), StopConditions(max_samples=50))
    assert made(repeated.files.commits) == made(lived.files.commits)


@given(
    seeds,
    st.sampled_from(ALGORITHMS),
    st.lists(st.integers(1, 120), max_size=3),
    st.sampled_from([0.0, 0.3]),
    st.sampled_from([0.0, 0.03]),
    st.sampled_from([0.0, 9.0]),
    st.integers(3, 16),
    st.integers(1, 4),
)
@settings(max_examples=3 * EXAMPLES // 5)
def test_fewer_are_in_flight_after_slow_answers_and_kills_and_the_clock_change_nothing_of_it(
    seed: int,
    algorithm: Any,
    kills: list[int],
    liars: float,
    faults: float,
    seconds: float,
    in_flight: int,
    slow_from: int,
):
    def search(**more: Any) -> World:
        return world(algorithm, liars=liars, in_flight=in_flight, slow_from=slow_from, if_slow=4, **more)

    lived = search(seconds=seconds, faults=faults)
    for order, kill_at in enumerate([*kills, None]):
        done = sum(len(commit.judged) for commit in lived.files.commits)
        if done < 50 and lived.night(Random(seed + order), StopConditions(max_samples=50 - done), kill_at=kill_at):
            break
        lived.in_flight = lived.last_in_flight
    fewer = {commit.number: commit.samples_in_flight for commit in lived.files.commits}
    is_slow = in_flight > 5 and max(fewer) >= slow_from
    assert {number: few for number, few in fewer.items() if few} == ({slow_from: 4} if is_slow else {})
    assert lived.asked == lived.evaluated == 50, "no answer is bought or evaluated twice"
    assert rebuild(lived.files.run, lived.files.history()).plans == lived.core.state.planner.plans
    repeated = search()
    repeated.files.lengths.update(lived.files.lengths)
    repeated.night(Random(seed + 7), StopConditions(max_samples=50))
    assert made(repeated.files.commits) == made(lived.files.commits)
    assert repeated.core.state.planner.window == lived.core.state.planner.window == (2 if in_flight > 3 else 1)


def test_the_first_generation_tells_that_answers_are_slow_though_it_ends_early():
    search = World(files(prompts=48, samples=1, seconds=60.0), 1, in_flight=8, slow_from=1, if_slow=4)
    search.night(Random(1), StopConditions(max_samples=48))
    first, *others = search.files.commits
    assert (first.prompts, first.samples_in_flight) == (12, 4)
    assert all(one.samples_in_flight is None for one in others)


@pytest.mark.parametrize("if_slow", [None, 8])
def test_as_many_stay_in_flight_where_slow_answers_change_nothing(if_slow: int | None):
    search = world(in_flight=8, slow_from=1, if_slow=if_slow)
    search.night(Random(1), StopConditions(generations=3))
    assert [commit.samples_in_flight for commit in search.files.commits] == [None] * 3
    assert search.core.state.planner.window == 4


@pytest.mark.parametrize("prompts", [-7, 0, 2**31 - 1])
def test_numbers_of_prompts_that_no_generation_can_have_do_no_harm(prompts: int):
    search = world(in_flight=6)
    search.files.lengths[1] = prompts
    search.night(Random(1), StopConditions(generations=2))
    assert [len(commit.judged) for commit in search.files.commits] == [10, 10]


def test_the_first_generations_of_a_slow_night_are_short():
    search = world(in_flight=2, seconds=60.0)
    search.night(Random(1), StopConditions(generations=6))
    assert [commit.prompts for commit in search.files.commits][:2] == [3, 3]
    assert search.files.commits[-1].prompts is None
    assert sum(len(commit.judged) for commit in search.files.commits) == 60, "--generations counts full ones"


@pytest.mark.parametrize("conditions", [StopConditions(generations=3), StopConditions(max_samples=26)])
def test_the_tuner_is_told_of_the_last_answer_of_a_model_and_not_before(conditions: StopConditions):
    made = files()
    tuner = made.run.problem.settings.tuner.model_copy(update={"enabled": True})
    problem = replace(made.run.problem, settings=made.run.problem.settings.model_copy(update={"tuner": tuner}))
    search = World(Files(replace(made.run, problem=problem), START), 1, in_flight=3)
    search.night(Random(1), conditions)
    assert search.tuning_ends_after == [conditions.max_samples or 30]


def test_a_person_who_ends_a_night_waits_for_no_prompts_but_those_in_flight():
    search = World(files(prompts=50, seconds=60.0), 1, interrupted_at=6.0)
    search.night(Random(1), StopConditions())
    assert search.reason is StopReason.INTERRUPTED
    assert [commit.prompts for commit in search.files.commits] == [5]


@pytest.mark.parametrize("order", [1, 2])
def test_nobody_is_asked_to_beat_what_ends_the_night(order: int):
    search = World(files(prompts=50), 1, improves=True)
    search.night(Random(order), StopConditions(target=1100.0))
    assert search.reason is StopReason.TARGET
    assert [commit.prompts for commit in search.files.commits] == [9]
    assert search.asked == 18, "those of the generation that were planned before"


def test_nothing_is_asked_of_later_generations_once_a_person_ends_the_night():
    search = World(files(prompts=3), 1, interrupted_at=2.5, in_flight=6)
    search.night(Random(1), StopConditions())
    assert [commit.number for commit in search.files.commits] == [1]
    assert search.asked == 6, "those of the generation under way"


@dataclass
class Jumping(World):
    """A world whose clock is set back and forth, and whose machine sleeps now and then.

    Attributes:
        jumps: Seconds by which the time of day, and the seconds that passed, are others from an event on.
    """

    jumps: dict[int, tuple[float, float]] = field(default_factory=dict)
    looked: int = 0
    set_by: float = 0.0

    def _clock(self) -> Clock:
        self.looked += 1
        by, slept = self.jumps.get(self.looked, (0.0, 0.0))
        self.set_by += by
        self.seconds += slept
        found = super()._clock()
        return replace(found, now=found.now + timedelta(seconds=self.set_by))


@given(
    seeds,
    st.dictionaries(
        st.integers(1, 80),
        st.tuples(st.sampled_from([-86_400.0, -30.0, 0.0, 30.0, 86_400.0]), st.sampled_from([0.0, 30_000.0])),
        max_size=6,
    ),
    st.lists(st.integers(1, 60), max_size=2),
    st.sampled_from([0.0, 0.02]),
)
@settings(max_examples=3 * EXAMPLES // 5)
def test_a_clock_that_jumps_changes_nothing_but_where_generations_end(
    seed: int, jumps: dict[int, tuple[float, float]], kills: list[int], faults: float
):
    search = Jumping(files(seconds=9.0), 1, in_flight=6, faults=faults, jumps=jumps)
    for order, kill_at in enumerate([*kills, None]):
        done = sum(len(commit.judged) for commit in search.files.commits)
        if done < 50 and search.night(Random(seed + order), StopConditions(max_samples=50 - done), kill_at=kill_at):
            break
    assert search.asked == search.evaluated == 50, "nothing is lost, and nothing done twice"
    assert all(min(one.sample_s, one.evaluate_s, one.select_s) >= 0 for one in search.files.commits)
    repeated = world(in_flight=6)
    repeated.files.lengths.update(search.files.lengths)
    repeated.night(Random(seed + 7), StopConditions(max_samples=50))
    assert made(repeated.files.commits) == made(search.files.commits)


def test_a_clock_that_is_set_beyond_the_deadline_and_back_ends_a_night_and_loses_nothing():
    until = NOW + timedelta(hours=1)
    search = Jumping(files(), 1, in_flight=6, jumps={20: (7200.0, 0.0)})
    search.night(Random(1), StopConditions(until=until, max_samples=50))
    assert search.reason is StopReason.DEADLINE
    search.jumps = {search.looked + 5: (-7200.0, 0.0)}
    search.night(Random(1), StopConditions(max_samples=50 - sum(len(one.judged) for one in search.files.commits)))
    assert search.asked == search.evaluated == 50


@given(seeds, st.sampled_from(ALGORITHMS), st.lists(st.integers(1, 60), max_size=3), st.integers(1, 4))
@settings(max_examples=2 * EXAMPLES // 5)
def test_generations_of_one_sample_are_killed_and_go_on(seed: int, algorithm: Any, kills: list[int], in_flight: int):
    whole, killed = (
        World(files(algorithm, prompts=1, samples=1, seconds=9.0), 1, liars=0.3, in_flight=in_flight) for _ in range(2)
    )
    whole.night(Random(seed), StopConditions(max_samples=12))
    for order, kill_at in enumerate([*kills, None]):
        done = len(killed.files.commits)
        if done < 12 and killed.night(Random(seed + order), StopConditions(max_samples=12 - done), kill_at=kill_at):
            break
    assert made(killed.files.commits) == made(whole.files.commits)
    assert [len(commit.judged) for commit in killed.files.commits] == [1] * 12
    assert killed.asked == killed.evaluated == 12


def test_claims_that_are_beaten_soon_are_not_confirmed():
    search = world({"name": "greedy"}, improves=True)
    search.night(Random(1), StopConditions(generations=10))
    assert 10 <= search.confirmed <= 20, "one at the end of each generation, and the first ones"


def test_attempts_that_fail_during_an_outage_belong_to_the_pause():
    search = world(ALGORITHMS[0], away=(10.0, 310.0))
    search.night(Random(1), StopConditions(generations=4))
    assert len(search.files.commits) == 4
    assert search.lost_s >= 240


@given(seeds, st.sampled_from(ALGORITHMS), st.lists(st.integers(1, 16), min_size=1, max_size=4), starts)
@settings(max_examples=3 * EXAMPLES // 5)
def test_the_state_is_rebuilt_from_the_files_whatever_was_in_flight_each_night(
    seed: int, algorithm: Any, in_flight: list[int], start: Program
):
    search = world(algorithm, liars=0.3, start=start)
    for number in in_flight:
        search.in_flight = number
        search.night(Random(seed), StopConditions(generations=2))
    live = search.core.state.planner
    again = rebuild(search.files.run, search.files.history())
    assert again.plans == live.plans
    assert again.wary == live.wary
    for name, niche in live.algorithm.niches.items():
        assert again.algorithm.niches[name].best == niche.best


@given(seeds, st.sampled_from(ALGORITHMS), st.lists(st.integers(1, 16), min_size=1, max_size=4))
@settings(max_examples=3 * EXAMPLES // 5)
def test_what_was_pruned_is_part_of_the_search_and_of_what_the_files_say(
    seed: int, algorithm: Any, in_flight: list[int]
):
    search = pruning(world(algorithm, liars=0.3))
    for number in in_flight:
        search.in_flight = number
        search.night(Random(seed), StopConditions(generations=2))
    state = search.core.state
    again = SearchState(search.files.run, search.files.history())
    assert again.planner.plans == state.planner.plans
    assert (again.best, again.tried) == (state.best, state.tried)
    assert again.best.pruned_from
    for name, niche in state.planner.algorithm.niches.items():
        assert again.planner.algorithm.niches[name].programs == niche.programs
    assert search.pruned == len(in_flight)
    assert [commit.number for commit in search.files.commits] == list(range(1, 2 * len(in_flight) + 1))


@given(seeds, st.lists(st.integers(20, 120), max_size=3), st.sampled_from([0.0, 0.03]))
def test_a_night_that_is_killed_while_it_prunes_prunes_again(seed: int, kills: list[int], faults: float):
    whole, killed = (pruning(world(faults=rate)) for rate in (0.0, faults))
    whole.night(Random(seed), StopConditions(generations=3))
    for at in kills:
        done = len(killed.files.commits)
        if done < 3 and killed.night(Random(seed), StopConditions(generations=3 - done), kill_at=at):
            break
    if (done := len(killed.files.commits)) < 3:
        assert killed.night(Random(seed + 1), StopConditions(generations=3 - done))
    assert made(killed.files.commits) == made(whole.files.commits)
    assert killed.files.commits[-1].best.pruned_from


def test_a_night_that_a_person_ends_prunes_nothing():
    search = pruning(world())
    search.interrupted_at = 3.0
    search.night(Random(1), StopConditions())
    assert search.reason is StopReason.INTERRUPTED
    assert search.pruned == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one["name"])
def test_a_claim_that_falls_is_no_program_of_the_search(algorithm: Any):
    search = world(algorithm, liars=0.4, in_flight=8)
    search.night(Random(3), StopConditions(generations=6))
    judged = {one.id: one for commit in search.files.commits for one in commit.judged}
    fallen = {name for name, one in judged.items() if one.verdict.outcome is Outcome.UNCONFIRMED}
    assert fallen, "some have lied"
    assert any(judged[name].claimed_scores for name in fallen), "and some were believed at first"
    niches = search.core.state.planner.algorithm.niches.values()
    assert not fallen & {program.id for niche in niches for program in niche.programs}
    assert search.core.state.best.score <= 0.0, "no true score is higher"
    removed = {
        change.program_id
        for commit in search.files.commits
        for changes in commit.changes.values()
        for change in changes
        if isinstance(change, Correct) and change.is_removed
    }
    assert removed == {name for name in fallen if judged[name].claimed_scores}


class Watched(World):
    """Somebody looks at what is called the best whenever something has been done. No true score is above 0."""

    def _done(self, action: Action, order: Random) -> list[Event]:
        events = super()._done(action, order)
        told = [self.core.state.best, *(commit.best for commit in self.files.commits)]
        in_files = self.files.history().programs.values()
        assert max(program.score for program in (*told, *in_files)) <= 0.0
        return events


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: one["name"])
def test_nobody_is_shown_a_claim_before_its_verdict(algorithm: Any):
    """Commands and reports read the files; notifications and the live view are told the bests of commits."""
    search = Watched(files(algorithm), seed=1, liars=0.4, in_flight=8)
    search.night(Random(3), StopConditions(generations=4))
    assert any(one.claimed_scores for commit in search.files.commits for one in commit.judged), "some were believed"


def test_a_model_that_lies_is_believed_for_few_prompts():
    search = world(liars=1.0, in_flight=4)
    search.night(Random(1), StopConditions(generations=8))
    judged = [one for commit in search.files.commits for one in commit.judged]
    believed = [one for one in judged if one.claimed_scores]
    assert 1 <= len(believed) <= 8, "after the first has fallen, claims are confirmed first"


def test_a_generation_that_fails_for_good_is_given_up_and_retried_later():
    class Broken(World):
        def _done(self, action: Action, order: Random) -> list[Event]:
            if isinstance(action, Ask) and action.number == 2 and len(self.files.windows) == 1:
                return [Failed(action.attempt, ValueError("it is broken"))]
            return super()._done(action, order)

    search = Broken(files(), seed=1)
    search.night(Random(1), StopConditions(generations=4))
    assert [end if isinstance(end, int) else end.number for end in search.files.ends] == [1, 2, 3, 4]
    assert search.core.state.failed == {2}
    assert len(search.files.failed_attempts) == 4
    assert search.night(Random(1), StopConditions(), retried=(2,))
    assert search.core.state.failed == set()
    assert [end if isinstance(end, int) else end.number for end in search.files.ends] == [1, 2, 3, 4, 2]
    again = rebuild(search.files.run, search.files.history())
    assert again.plans == search.core.state.planner.plans


@given(seeds, st.integers(1, 150))
@settings(max_examples=2 * EXAMPLES // 5)
def test_a_night_that_is_cut_commits_what_it_has_and_the_next_goes_on(seed: int, cut_at: int):
    search = world(in_flight=6)
    assert search.night(Random(seed), StopConditions(generations=4), cut_at=cut_at)
    assert search.reason in (StopReason.DEADLINE, StopReason.GENERATIONS)
    assert [commit.number for commit in search.files.commits] == list(range(1, len(search.files.commits) + 1))
    assert search.night(Random(seed), StopConditions(generations=1))


def test_too_many_failures_in_a_row_end_the_night_and_the_next_goes_on():
    class Broken(World):
        def _done(self, action: Action, order: Random) -> list[Event]:
            if isinstance(action, Ask) and action.number > 1 and len(self.files.windows) == 1:
                return [Failed(action.attempt, ValueError("it is broken"))]
            return super()._done(action, order)

    search = Broken(files(), seed=1, in_flight=1)
    with pytest.raises(ValueError, match="it is broken"):
        search.night(Random(1), StopConditions(generations=99))
    assert search.reason is StopReason.FAILED
    given_up = [end for end in search.files.ends if isinstance(end, int)]
    assert given_up == list(range(2, 2 + search.files.run.problem.settings.search.failures))
    search.night(Random(1), StopConditions(generations=1))
    assert [commit.number for commit in search.files.commits] == [1, given_up[-1] + 1]


@pytest.mark.parametrize("samples", [8, 15])
def test_a_night_asks_for_the_samples_that_were_wanted_and_no_more(samples: int):
    search = world(in_flight=6)
    search.night(Random(1), StopConditions(max_samples=samples))
    assert search.reason is StopReason.SAMPLES
    assert search.asked == samples == sum(len(commit.judged) for commit in search.files.commits)
    search.night(Random(1), StopConditions(max_samples=6))
    assert search.asked == samples + 6, "the run goes on after it"


@dataclass
class Sparing(World):
    """A world whose model, like an agent, uses one of its samples only."""

    given: list[int] = field(default_factory=list)

    def _answers(self, number: int, prompts: Sequence[Prompt]) -> list[tuple[Candidate, Verdict]]:
        self.given += [prompt.samples for prompt in prompts]
        return super()._answers(number, [replace(prompt, seeds=prompt.seeds[:1]) for prompt in prompts])


def test_samples_that_are_not_used_are_left_to_later_prompts():
    search = Sparing(files(samples=4), seed=1, in_flight=2)
    search.night(Random(1), StopConditions(max_samples=20))
    assert search.reason is StopReason.SAMPLES
    assert search.given[:16] == [4] * 16, "of each, one is used"


@dataclass
class Paid(World):
    """A world in which an answer costs 1 USD, for which there is a budget."""

    budget: int = 0
    bought: int = 0

    def _bought(self, asked: Ask) -> Ask:
        prompts = []
        for prompt in asked.prompts:
            wanted = prompt.samples if prompt.model == TUNER else min(prompt.samples, self.budget - self.bought)
            self.bought += wanted * (prompt.model != TUNER)
            prompts.append(replace(prompt, seeds=prompt.seeds[:wanted]))
        return replace(asked, prompts=prompts)

    def _clock(self) -> Clock:
        return replace(super()._clock(), night_usd=float(self.bought))


@given(seeds, st.sampled_from(ALGORITHMS), st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=2 * EXAMPLES // 5)
def test_a_night_uses_every_answer_that_its_budget_bought(seed: int, algorithm: Any, budget: int, in_flight: int):
    search = Paid(files(algorithm), 1, in_flight=in_flight, budget=budget)
    assert search.night(Random(seed), StopConditions(budget_usd=budget))
    assert search.reason is StopReason.BUDGET
    assert sum(len(commit.judged) for commit in search.files.commits) == budget == search.answered


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        (StopConditions(target=-100.0), StopReason.TARGET),
        (StopConditions(until=NOW), StopReason.DEADLINE),
        (StopConditions(generations=2, target=1.0), StopReason.GENERATIONS),
        (StopConditions(patience=3), StopReason.PATIENCE),
    ],
)
def test_a_night_says_why_it_stopped(conditions: StopConditions, reason: StopReason):
    search = world()
    search.night(Random(1), conditions)
    assert search.reason is reason


def test_an_outage_ends_with_the_deadline_and_the_next_night_goes_on():
    search = world(faults=1.0)
    search.night(Random(1), StopConditions(until=NOW + timedelta(hours=1)))
    assert search.reason is StopReason.DEADLINE
    assert search.files.commits == []
    search.faults = 0.0
    search.night(Random(1), StopConditions(generations=2))
    assert [commit.number for commit in search.files.commits] == [1, 2]


def test_ctrl_c_ends_a_night_that_is_paused_by_an_outage():
    search = world(away=(10.0, inf), interrupted_at=300.0)
    search.night(Random(1), StopConditions(generations=9))
    assert search.reason is StopReason.INTERRUPTED
    assert search.lost_s > 0


class Killed(Exception):
    """The process ended before a commit."""


class KilledAtTheCommit(World):
    def _done(self, action: Action, order: Random) -> list[Event]:
        if isinstance(action, Commit):
            raise Killed
        return super()._done(action, order)


class CutAtTheThird(World):
    """The deadline comes while the fourth prompt is evaluated."""

    evaluated = 0

    def _done(self, action: Action, order: Random) -> list[Event]:
        events = super()._done(action, order)
        self.evaluated += isinstance(action, Ask)
        return [*events, Cut()] if isinstance(action, Ask) and self.evaluated == 3 else events


@pytest.fixture
def bought() -> Files:
    """A run of which a night paid for the six answers of generation 1 and was killed before the commit."""
    found = files(prompts=6, samples=1)
    with pytest.raises(Killed):
        KilledAtTheCommit(found, seed=1, in_flight=1).night(Random(1), StopConditions())
    assert len(found.paid[1]) == 6
    return found


def test_answers_that_are_paid_for_outlive_a_deadline(bought: Files):
    short = CutAtTheThird(bought, seed=1, in_flight=1)
    short.night(Random(1), StopConditions())
    assert short.reason is StopReason.DEADLINE
    assert bought.commits == []
    following = World(bought, seed=1, in_flight=1)
    following.night(Random(1), StopConditions(generations=1))
    assert [len(commit.judged) for commit in bought.commits] == [6]
    assert following.asked == 0


def test_of_two_nights_that_are_too_short_for_them_the_second_commits(bought: Files):
    short = CutAtTheThird(bought, seed=1, in_flight=1)
    short.night(Random(1), StopConditions(), after_empty_night=True)
    assert [len(commit.judged) for commit in bought.commits] == [4]


class NotConfirmedInTime(World):
    """All answers are one program, and the deadline comes before its confirmation."""

    def _candidate(self, prompt: Prompt, sample: int, gain: float) -> tuple[Candidate, Verdict]:
        candidate, _ = super()._candidate(prompt, sample, gain)
        return replace(candidate, body="return 5", code_hash="the same"), Verdict(Outcome.SCORED, (5.0, 5.0))

    def _confirmation(self, claim: Judged) -> Verdict:
        return STOPPED_BY_DEADLINE


@pytest.mark.parametrize(("prompts", "samples"), [(2, 1), (1, 2)])
def test_twins_of_a_program_that_was_not_confirmed_do_not_count_as_judged(prompts: int, samples: int):
    search = NotConfirmedInTime(files(prompts=prompts, samples=samples), seed=1, in_flight=2)
    search.night(Random(1), StopConditions(generations=1))
    (commit,) = search.files.commits
    assert [one.verdict.outcome for one in commit.judged] == [Outcome.SANDBOX_ERROR] * 2
    assert all(one.verdict.error.endswith(STOPPED_BY_DEADLINE.error) for one in commit.judged)
    assert "the same" not in search.core.state.hashes
    assert search.core.state.best == START


class GoneAtTheCommit(World):
    """The history's folder is removed before the second commit."""

    def _done(self, action: Action, order: Random) -> list[Event]:
        if isinstance(action, Commit) and action.record.number == 2:
            return [Failed(action.attempt, HistoryGone("it was removed")), Ended(action.attempt)]
        return super()._done(action, order)


@given(seeds)
@settings(max_examples=EXAMPLES // 5)
def test_a_night_whose_history_is_gone_ends_whatever_waits_for_a_commit(seed: int):
    search = GoneAtTheCommit(files(), seed=1, in_flight=12)
    with pytest.raises(HistoryGone):
        search.night(Random(seed), StopConditions())
    assert [commit.number for commit in search.files.commits] == [1]


def test_pauses_get_longer_up_to_a_limit_however_many_there_are():
    policy, waits = RetryPolicy(retries=2, failures=5), list[float]()
    for _ in range(1100):
        policy.count(1, Outage("the engine is gone"), seconds=0.0)
        waits.append(policy.wait_s)
    assert waits[:7] == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_WAIT_S]
    assert set(waits[7:]) == {LONGEST_WAIT_S}
    said = policy.message("the engine is gone", Outage(""), NOW, seconds=0.0)
    assert said == "paused: the engine is gone; next attempt in 300 s"


@given(seeds, st.sampled_from(ALGORITHMS), st.integers(1, 12), st.integers(10, 60))
@settings(max_examples=EXAMPLES // 5)
def test_a_night_that_stops_before_its_deadline_has_used_every_answer(
    seed: int, algorithm: Any, in_flight: int, seconds: int
):
    search = World(files(algorithm), 1, in_flight=in_flight)
    assert search.night(Random(seed), StopConditions(until=NOW + timedelta(seconds=seconds)))
    assert search.reason is StopReason.DEADLINE
    if search.seconds < seconds:
        assert sum(len(commit.judged) for commit in search.files.commits) == search.answered
