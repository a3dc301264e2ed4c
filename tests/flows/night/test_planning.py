"""A prompt is planned from the results of all prompts before it but the last of the window, whatever arrives first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.flows.night.planning import Planner
from overnight.flows.night.rebuild import rebuild
from overnight.flows.night.turns import prompts_in_flight, prompts_per_task, results_needed, turns_of
from overnight.schemas.algorithm import Change, Plan, PromptResult, Turn
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import NightRecord, RunHistory, RunRecord, Step, Window
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Judged, Program
from overnight.schemas.sampling_settings import Model
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.compact import compact
from overnight.tasks.select.operators.composer import Composer
from overnight.tasks.select.selection import record_of, results_of
from overnight.testing.made import NOW, a_generation, a_judged, a_problem, a_run, create, turn_of

ALGORITHMS = [
    {"name": "islands", "islands": 3},
    {"name": "greedy"},
    {"name": "halving", "budget": 60, "searches": 5},
    {"name": "weighted", "archive": 5},
    {"name": "tree", "states": 5},
    {"name": "tree", "variant": "uct"},
    {"name": "map-elites", "first_programs": 9, "centroids": 3},
    {"name": "map-elites", "variant": "grid"},
]
MUTATE: dict[str, Any] = {}
CHAT: dict[str, Any] = {"models": (Model(name="openai/a"), Model(name="openai/b", weight=2.0))}
RUN = "20260101-2200-toy-aaaa"
START = Program("start", "return 0", (0.0,), 0.0)


def run_with(sampling: dict[str, Any] | None = None, /, *, tunes: bool = False, **search: Any) -> RunRecord:
    problem = a_problem(**{"prompts": 4, "samples": 2, **search})
    tuner = problem.settings.tuner.model_copy(update={"enabled": tunes})
    changed = {"sampling": problem.settings.sampling.model_copy(update=sampling or {}), "tuner": tuner}
    settings = problem.settings.model_copy(update=changed)
    return a_run("toy", problem.__class__(**{**vars(problem), "settings": settings}), clock=NOW)


class Recorder:
    """An algorithm that remembers, for each plan, how many results it had been told of."""

    def __init__(self) -> None:
        self.told = 0
        self.seen: dict[Turn, int] = {}
        self.niches: Mapping[str, Any] = {}
        self.best = START

    def ask(self, turn: Turn) -> Plan:
        assert turn not in self.seen, "a prompt is planned once"
        self.seen[turn] = self.told
        return Plan("0", (START,))

    def tell(self, generation: int, results: Sequence[PromptResult], *, reset: bool) -> list[Change]:
        self.told += 1
        return []

    def replay(self, changes: Sequence[Change], programs: Mapping[str, Program]) -> None:
        self.told += 1


class NoComposer(Composer):
    """A composer that leaves plans as they are."""

    def compose(self, plan: Plan, *args: Any, **more: Any) -> Plan:
        return plan

    def tuning(self, algorithm: object) -> Plan | None:
        return None


class TuningComposer(NoComposer):
    """A composer that always has something to tune."""

    def tuning(self, algorithm: object) -> Plan:
        return Plan("0", (START,))


def planner_with(run: RunRecord, algorithm: Any, window: int) -> Planner:
    planner = Planner(run, algorithm, NoComposer(run.problem, START, 1), lambda generation: True)
    planner.widen(window)
    return planner


def seen_by(run: RunRecord, generations: int, window: int = 1) -> list[int]:
    """Return how many results each prompt of the first generations has seen, in order."""
    algorithm = Recorder()
    planner = planner_with(run, algorithm, window)
    prompts = turns_of(run)
    for serial in range(generations * prompts):
        planner.tell(turn_of(serial, run), [], None)
    turns = [turn_of(serial, run) for serial in range(generations * prompts)]
    return [algorithm.seen[turn] for turn in turns if turn.index < run.problem.settings.search.prompts]


@pytest.mark.parametrize("window", [1, 2, 6, 8, 30])
def test_a_prompt_sees_all_results_but_the_last_of_the_window(window: int):
    assert seen_by(run_with(), 5, window) == [max(0, serial - window + 1) for serial in range(20)]


def test_a_window_that_changes_keeps_the_plans_that_were_made():
    algorithm, run = Recorder(), run_with()
    planner = planner_with(run, algorithm, 6)
    assert len(planner.plans) == 6
    planner.widen(2)
    for serial in range(5):
        planner.tell(turn_of(serial, run), [], None)
    assert list(algorithm.seen.values()) == [0] * 6 + [5], "nothing new is planned until two are in flight"
    planner.widen(4)
    assert list(algorithm.seen.values()) == [0] * 6 + [5] * 3


def test_samples_in_flight_are_prompts_of_several_samples():
    run = run_with(samples=2)
    assert [prompts_in_flight(run, samples) for samples in (1, 2, 5, 64)] == [1, 1, 2, 32]


def test_the_tuner_has_the_last_turn_of_a_generation():
    run = run_with(tunes=True)
    assert [turn_of(serial, run).index for serial in range(7)] == [0, 1, 2, 3, 4, 0, 1]
    assert seen_by(run, 2) == [0, 1, 2, 3, 5, 6, 7, 8], "it is told of like any other"
    assert turns_of(run_with()) == 4


@pytest.mark.parametrize("window", [1, 2, 3, 8])
@pytest.mark.parametrize("tunes", [False, True], ids=["without tuner", "with tuner"])
def test_each_prompt_is_followed_by_one_plan(window: int, tunes: bool):
    run = run_with(CHAT, tunes=tunes, samples=1, operators=(Operator.REFINE,))
    planner = rebuild(run, begun(window))
    turns = [turn_of(serial, run) for serial in range(6 * turns_of(run))]
    told = []
    for turn in turns:
        if (plan := planner.plans[turn]) is None or plan.operator is Operator.TUNE:
            planner.tell(turn, [], None)
            continue
        told.append(f"idea {turn.generation}.{turn.index}")
        repeated = Feedback("start", "return 0", Outcome.DUPLICATE, "judged before", "", (), None, idea=told[-1])
        planner.tell(turn, [], PromptRecord("0", "refine", plan.model, (repeated,)))
    plans = [planner.plans[turn] for turn in sorted(planner.plans, key=lambda turn: (turn.generation, turn.index))]
    followed = [line[2:] for plan in plans if plan for line in repetitions(plan)]
    assert len(followed) == len(set(followed)), "none is followed twice"
    assert set(told[:16]) <= set(followed), "none is left out, of those before the prompts in flight"


def begun(samples: int) -> RunHistory:
    """Return the history of a run whose first night has begun, with so many samples in flight."""
    return RunHistory({START.id: START}, (), frozenset(), (Window(1, samples, 1),))


def repetitions(plan: Plan) -> list[str]:
    """Return the lines of a plan that say what the prompt before it repeated."""
    first, *lines = plan.tried.partition("\n\n")[0].splitlines() or [""]
    return lines if first.startswith("The last answers repeated") else []


def test_one_turn_of_the_tuner_is_in_flight_at_a_time():
    def generations(window: int, **batch: Any) -> list[int]:
        run = run_with(batch, tunes=True)
        planner = Planner(run, Recorder(), TuningComposer(run.problem, START, 1), lambda generation: True)
        planner.widen(window)
        turns = [turn_of(serial, run) for serial in range(9 * turns_of(run))]
        for turn in turns:
            planner.tell(turn, [], None)
        last = turns_of(run) - 1
        return [turn.generation for turn in turns if turn.index == last and planner.plans[turn] is not None]

    assert generations(5) == list(range(1, 10)), "five turns: a generation"
    assert generations(6) == [1, 3, 5, 7, 9]
    assert generations(5, batch_api=True, batch_generations=4) == [1, 5, 9]


def test_with_batch_jobs_a_group_of_generations_sees_all_before_it():
    run = run_with({"batch_api": True, "batch_generations": 3})
    assert seen_by(run, 7) == [0] * 12 + [12] * 12 + [24] * 4


def test_prompts_in_flight_have_different_slots():
    def slots(window: int, **batch: Any) -> list[int]:
        run = run_with(batch)
        planner = planner_with(run, Recorder(), window)
        return [turn.slot for turn in planner.plans]

    assert slots(3) == [0, 1, 2]
    assert slots(1) == [0]
    assert set(slots(3, batch_api=True)) == {0}
    assert Turn(2, 1, 7) == Turn(2, 1), "a turn is found by its generation and index"


def test_a_task_takes_so_few_prompts_that_the_window_stays_full():
    assert prompts_per_task(run_with({"batch": 4}), 4) == 1
    assert prompts_per_task(run_with({"batch": 4}), 8) == 2
    assert prompts_per_task(run_with({"batch": 4}), 500) == 4
    assert prompts_per_task(run_with(), 8) == 2
    assert prompts_per_task(run_with(), 32) == 4
    assert prompts_per_task(run_with(), 200) == 25, "a wide window has larger tasks"
    assert prompts_per_task(run_with({"batch_api": True}), 1) == 4


@given(window=st.integers(1, 40), prompts=st.integers(1, 7), serial=st.integers(0, 100))
def test_what_a_prompt_needs_comes_before_it(window: int, prompts: int, serial: int):
    run = run_with(prompts=prompts, samples=1)
    assert 0 <= results_needed(serial, run, window) <= serial
    assert results_needed(serial, run, window) <= results_needed(serial + 1, run, window)
    assert serial - results_needed(serial, run, window) < window, "no more prompts than the window are in flight"


@pytest.mark.parametrize("models", [MUTATE, CHAT], ids=["mutate", "chat"])
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda one: "-".join(map(str, one.values())))
def test_plans_rebuilt_from_the_files_are_those_of_the_night(
    tmp_path: Path, algorithm: dict[str, Any], models: dict[str, Any]
):
    files = create(tmp_path, sampling=models, prompts=4, samples=2, algorithm=algorithm)
    run, random, samples = stored_run.read_run(files), Random(3), 2
    best = stored_run.read_run_history(files).start
    night = NightRecord(1, NOW, best.score, best.score, best.id, samples_in_flight=6, first_generation=1)
    record.write_night(files, night)
    live = rebuild(run, stored_run.read_run_history(files, samples=samples))
    best = live.algorithm.best
    for number in range(1, 6):
        judged: dict[int, list[Judged]] = {}
        changes: dict[int, tuple[Change, ...]] = {}
        for index in range(turns_of(run)):
            turn = Turn(number, index)
            plan = live.plans[turn]
            judged[index] = [a_sample(random, number, 2 * index + k, plan) for k in range(2)] if plan else []
            changes[index] = tell(live, turn, judged[index])
        everything = [one for mine in judged.values() for one in mine]
        best = max([best, *(one.program() for one in everything if one.score is not None)], key=lambda one: one.score)
        record.commit(files, replace(a_generation(number, everything, best), changes=changes))
        live.forget(number)
    for _ in range(2):
        again = rebuild(stored_run.read_run(files), stored_run.read_run_history(files, samples=samples))
        assert again.plans == live.plans
        assert again.algorithm.best == live.algorithm.best
        assert again.algorithm.best.score == best.score
        compact(files, min_generations=1)


def test_prompts_in_flight_are_told_apart_across_generations_and_after_a_resume(tmp_path: Path):
    search: dict[str, Any] = {"prompts": 4, "samples": 1, "operators": (Operator.REFINE,)}
    files = create(tmp_path, sampling={"models": (Model(name="openai/a"),)}, **search)
    run = stored_run.read_run(files)
    best = stored_run.read_run_history(files).start
    night = NightRecord(1, NOW, best.score, best.score, best.id, samples_in_flight=6, first_generation=1)
    record.write_night(files, night)
    live = rebuild(run, stored_run.read_run_history(files, samples=1))
    turns = [turn for turn in map(partial(turn_of, run=run), range(26)) if turn.index < 4]
    for turn in turns[:20]:
        in_flight = [plan for plan in live.plans.values() if plan and plan.operator is Operator.REFINE]
        asked = [(plan.shown, plan.angle) for plan in in_flight]
        assert len(asked) == len(set(asked)), "nothing is asked twice at a time"
        tell(live, turn, [a_judged(RUN, turn.generation, turn.index, outcome=Outcome.CRASHED)])
        live.plans.pop(turn)
        if turn.index == 3:
            judged = [a_judged(RUN, turn.generation, index, outcome=Outcome.CRASHED) for index in range(4)]
            record.commit(files, a_generation(turn.generation, judged, best))
            again = rebuild(run, stored_run.read_run_history(files, samples=1))
            wanted = {one: plan for one, plan in live.plans.items() if one.generation > turn.generation}
            assert again.plans == wanted, "the same is asked after a resume"


def test_an_idea_whose_claim_falls_is_taken_back():
    run = run_with(CHAT, samples=1, operators=(Operator.REFINE,))
    planner = rebuild(run, begun(1))
    claim, later = (
        a_judged(RUN, 1, index, scores=(9.0 + index,), text=f"# idea: number {index}") for index in range(2)
    )
    planner.tell(Turn(1, 0), results_of([claim]), record_of([claim]), claims=True)
    planner.tell(Turn(1, 1), results_of([later]), record_of([later]), claims=True)
    assert "number 1 (from 9 to 10)" in listed(planner.plans[Turn(1, 2)])
    fell = replace(later, score=None, verdict=replace(later.verdict, outcome=Outcome.UNCONFIRMED, scores=()))
    planner.correct({fell.id: (None, fell.feedback())})
    planner.tell(Turn(1, 2), [], None)
    tried = listed(planner.plans[Turn(1, 3)])
    assert "number 0 (from 0 to 9)" in tried
    assert "number 1 (from" not in tried


def listed(plan: Plan | None) -> str:
    assert plan is not None
    return plan.tried


def tell(planner: Planner, turn: Turn, judged: Sequence[Judged]) -> tuple[Change, ...]:
    reset = turn.index == 3 and turn.generation % 2 == 0
    return planner.tell(turn, results_of(judged), record_of(judged), reset=reset)


def a_sample(random: Random, generation: int, index: int, plan: Plan) -> Judged:
    """Return a candidate of a prompt with two samples: one in three failed, one in ten had no verdict."""
    drawn = random.random()
    outcome = Outcome.SANDBOX_ERROR if drawn < 0.1 else Outcome.CRASHED if drawn < 0.4 else Outcome.SCORED
    scores = (random.choice((-20.0, -8.0, -3.5)), random.choice((-9.0, 1.0))) if outcome is Outcome.SCORED else ()
    parents = [*([plan.failed.program_id] if plan.failed else []), *(program.id for program in plan.shown)]
    model = plan.model or random.choice(["openai/a", "openai/b"])
    text = f"# idea: number {random.randrange(5)}"
    told: dict[str, Any] = {"niche": plan.niche, "parents": parents, "model": model, "text": text}
    one = a_judged(RUN, generation, index, scores=scores, outcome=outcome, **told)
    prompt = replace(one.candidate.prompt, index=index // 2, operator=plan.operator or "")
    return replace(one, candidate=replace(one.candidate, prompt=prompt))


@pytest.mark.parametrize("fallback", ["openai/spare", "openai/b"], ids=["of its own", "also in the list"])
def test_a_model_whose_fallback_answers_gets_no_more_prompts_than_the_others(tmp_path: Path, fallback: str):
    files = create(tmp_path, sampling=CHAT, prompts=4, samples=1)
    run, asked, samples = stored_run.read_run(files), Counter[str](), 1
    live = rebuild(run, stored_run.read_run_history(files, samples=samples))
    live.widen(1)
    for number in range(1, 6):
        judged: list[Judged] = []
        for index in range(turns_of(run)):
            plan = live.plans[Turn(number, index)]
            assert plan is not None
            asked[plan.model] += 1
            judged.append(answered(a_judged(RUN, number, index, model=plan.model, outcome=Outcome.CRASHED), fallback))
            tell(live, Turn(number, index), judged[-1:])
        record.commit(files, a_generation(number, judged, live.algorithm.best))
        live.forget(number)
    assert asked.keys() == {"openai/a", "openai/b"}
    assert max(asked.values()) < 15, "where both gain nothing at the same price"
    again = rebuild(run, stored_run.read_run_history(files, samples=samples))
    again.widen(1)
    assert again.plans == live.plans


def answered(judged: Judged, fallback: str) -> Judged:
    """Return a candidate with the answer of a fallback, if it was asked of the model that is down."""
    candidate = judged.candidate
    answering = fallback if candidate.prompt.model == "openai/a" else candidate.prompt.model
    completion = replace(candidate.completion, model=answering)
    return replace(judged, candidate=replace(candidate, completion=completion))


def test_a_retry_gets_the_prompts_that_the_failed_generation_had():
    run = run_with(algorithm={"name": "islands", "islands": 1})
    first = rebuild(run, begun(2))
    plans = dict(first.plans)
    child = Program("1.0.0", "return 1", (1.0,), 1.0)
    result = PromptResult("0", START.id, 2, (child,))
    first.tell(Turn(1, 0), [result], None)
    later = first.plans[Turn(1, 1)]
    assert later is not None
    assert later.base == child
    failed = RunHistory(
        {START.id: START}, (Step(1, is_committed=False), Step(2, is_committed=True)), frozenset(), (Window(1, 2, 1),)
    )
    retry = rebuild(run, failed.before_failure_of(1))
    assert {turn: plan for turn, plan in retry.plans.items() if turn.generation == 1} == plans
    retry.tell(Turn(1, 0), [result], None)
    assert retry.plans[Turn(1, 1)] == later
