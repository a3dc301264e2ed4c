"""The tuner answers samples like any completion source, stops when it is told to, and works in the real sandbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.flows.night.tuning import RunTrials, tuner_source
from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.algorithm import Plan
from overnight.schemas.completion_source import Sample
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import NO_GAIN, TUNED, TUNER, Completion, Program, Prompt
from overnight.schemas.settings import Tuner
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.evaluate.host_slots import HostSlots
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.sample.sampler import to_candidates
from overnight.tasks.tune.source import Inputs, TunedProblem, TunerSource

PROBLEM = load_problem(Path(__file__).parents[1] / "specifications" / "toy.py")
SKELETON = PROBLEM.specification
assert isinstance(SKELETON, Specification)
BASE = "y = 2.0\nreturn y"
LONG_S = 60.0


def parse(text: str, base: str) -> str:
    return codec_of(SKELETON.kind).parse(text, SKELETON, 1, base).body


def sample(base: str = BASE, index: int = 0) -> Sample:
    return Sample(Prompt(index, "0", ("p",), TUNER, "chat", f"tune {base}", (1,), base=base), 0)


class Trials:
    """A sandbox that scores `y = NUMBER` by its distance to 3.7; it may hold evaluations after the first, or fail."""

    def __init__(
        self,
        verdict: Callable[[float], Verdict] | None = None,
        *,
        held_from: int | None = None,
        validation: Callable[[str], Verdict] | None = None,
    ) -> None:
        self.validation = validation
        self.bodies: list[tuple[str, Inputs]] = []
        self.held: list[Future[Verdict]] = []
        self.has_begun = threading.Event()
        self._verdict = verdict or (lambda y: Verdict(Outcome.SCORED, (-abs(y - 3.7),)))
        self._held_from = held_from

    def has(self, inputs: Inputs) -> bool:
        return inputs == "train" or (inputs == "validation" and self.validation is not None)

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        self.bodies.append((body, inputs))
        future: Future[Verdict] = Future()
        if self._held_from is not None and len(self.bodies) > self._held_from:
            self.held.append(future)
            self.has_begun.set()
            return future
        if inputs == "validation" and self.validation:
            future.set_result(self.validation(body))
            return future
        try:
            future.set_result(self._verdict(float(body.split("\n")[0].removeprefix("y = "))))
        except SandboxUnavailable as error:
            future.set_exception(error)
        return future


class Asked:
    """A source with its record."""

    def __init__(
        self,
        trials: Trials,
        may_ask: Callable[[], bool] = lambda: True,
        max_s: float = 60.0,
        is_last: Callable[[], bool] = lambda: False,
        objectives: Objectives = NO_OBJECTIVES,
        **settings: Any,
    ) -> None:
        self.recorded: list[Completion] = []
        problem = TunedProblem(SKELETON, parse, objectives=objectives)
        self.source = TunerSource(problem, trials, Tuner(**settings), may_ask, max_s, is_last)

    def submit(self, wanted: Sequence[Sample]) -> Future[list[Completion]]:
        return self.source.submit(wanted, self.recorded.extend)


def test_the_answer_is_the_base_with_better_numbers():
    trials = Trials()
    asked = Asked(trials)
    wanted = sample()
    (answer,) = asked.submit([wanted]).result(LONG_S)
    assert asked.recorded == [answer]
    assert (answer.model, answer.finish_reason, answer.error) == (TUNER, TUNED, "")
    assert (answer.tokens_in, answer.tokens_out, answer.cost_usd) == (0, 0, 0.0)
    assert (answer.prompt, answer.sample, answer.prompt_hash) == (0, 0, wanted.prompt.hash)
    assert answer.evaluations == len(trials.bodies) > 10
    assert answer.idea is not None
    assert answer.idea.startswith("tuned numbers: 2.0 -> 3.7")
    (candidate,) = to_candidates([wanted.prompt], [answer], PROBLEM)
    assert candidate.verdict is None
    assert candidate.body == f"y = {answer.idea.split(' -> ')[1]}\nreturn y"


def test_numbers_over_a_limit_on_a_metric_are_no_answer():
    trials = Trials(lambda y: Verdict(Outcome.SCORED, (y,), metrics={"cost": (y,)}))
    asked = Asked(trials, objectives=Objectives(limits={"cost": "<= 3"}))
    (answer,) = asked.submit([sample()]).result(LONG_S)
    (candidate,) = to_candidates([sample().prompt], [answer], PROBLEM)
    tuned = float(candidate.body.split("\n")[0].removeprefix("y = "))
    assert 2.0 < tuned <= 3.0
    assert any(float(body.split("\n")[0].removeprefix("y = ")) > 3.0 for body, _ in trials.bodies)


class TwoNumbers(Trials):
    """A sandbox that scores `return [A, B]` by its distance to 3.7 and 0.6."""

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        self.bodies.append((body, inputs))
        first, second = json.loads(body.removeprefix("return "))
        future: Future[Verdict] = Future()
        future.set_result(Verdict(Outcome.SCORED, (-abs(first - 3.7) - abs(second - 0.6),)))
        return future


def test_the_seed_of_the_sample_settles_what_is_tried_and_no_id_of_a_program():
    def tried(program_id: str, seed: int) -> list[tuple[str, Inputs]]:
        plan = Plan("0", (Program(program_id, "return [2.0, 1.0]", (0.0,), 0.0),), operator=Operator.TUNE)
        trials, prompts = TwoNumbers(), build_prompts({7: plan}, PROBLEM, seed=seed, generation=3)
        assert program_id not in prompts[0].text
        Asked(trials).submit([Sample(prompts[0], 0)]).result(LONG_S)
        return trials.bodies

    first = tried("a0a0a0", seed=1)
    assert first == tried("b1b1b1", seed=1)
    assert first != tried("a0a0a0", seed=2)


@pytest.mark.parametrize("base", ["y = 3.7\nreturn y", "return x"])
def test_without_a_gain_the_answer_is_empty_and_a_duplicate(base: str):
    wanted = sample(base)
    (answer,) = Asked(Trials()).submit([wanted]).result(LONG_S)
    assert (answer.text, answer.finish_reason) == ("", NO_GAIN)
    (candidate,) = to_candidates([wanted.prompt], [answer], PROBLEM)
    assert candidate.verdict == Verdict(Outcome.DUPLICATE, error="no better numbers were found")
    assert (candidate.body, candidate.code_hash) == ("", "")


@pytest.mark.parametrize(
    ("base_is", "reason"),
    [(Verdict(Outcome.SANDBOX_ERROR, error="lost"), NO_GAIN), (Verdict(Outcome.TIMED_OUT, error="slow"), TUNED)],
    ids=["lost by the sandbox", "too slow"],
)
def test_where_the_sandbox_loses_the_base_on_validation_inputs_nothing_is_written(base_is: Verdict, reason: str):
    worse = Verdict(Outcome.SCORED, (-100.0,))
    (answer,) = (
        Asked(Trials(validation=lambda body: base_is if body == BASE else worse)).submit([sample()]).result(LONG_S)
    )
    assert answer.finish_reason == reason


def test_a_base_that_no_answer_can_hold_is_not_evaluated():
    trials = Trials()
    (answer,) = Asked(trials).submit([sample('y = 2.0\nz = """\n```\n"""\nreturn y')]).result(LONG_S)
    assert answer.finish_reason == NO_GAIN
    assert not trials.bodies


def test_when_the_time_is_over_the_sample_has_no_gain():
    (answer,) = Asked(Trials(held_from=1), max_s=0.05).submit([sample()]).result(LONG_S)
    assert answer.finish_reason == NO_GAIN


def test_with_the_last_answer_of_a_model_a_tuning_ends_that_has_found_nothing_whatever_it_waits_for():
    trials, is_last = Trials(held_from=1), threading.Event()
    answer = Asked(trials, is_last=is_last.is_set).submit([sample()])
    assert trials.has_begun.wait(LONG_S)
    assert not answer.done()
    is_last.set()
    (found,) = answer.result(LONG_S)
    assert found.finish_reason == NO_GAIN
    assert all(one.cancelled() for one in trials.held)


def test_one_that_has_not_begun_by_then_tries_nothing():
    (answer,) = Asked(trials := Trials(), is_last=lambda: True).submit([sample()]).result(LONG_S)
    assert answer.finish_reason == NO_GAIN
    assert not trials.bodies


def test_cancelling_ends_the_wait_and_nothing_further_is_evaluated_or_recorded():
    trials = Trials(held_from=0)
    asked = Asked(trials)
    answer = asked.submit([sample(), sample(index=1)])
    assert trials.has_begun.wait(LONG_S)
    assert answer.cancel()
    with pytest.raises(CancelledError):
        answer.result(LONG_S)
    for future in trials.held:
        assert future.cancelled()
    for thread in threading.enumerate():
        if thread.name == "overnight-tuner":
            thread.join(LONG_S)
            assert not thread.is_alive()
    assert len(trials.bodies) == 1
    assert asked.recorded == []


def test_when_the_night_ends_samples_are_left_without_an_answer():
    asked = Asked(trials := Trials(), lambda: len(trials.bodies) < 5)
    assert asked.submit([sample(), sample(index=1)]).result(LONG_S) == []
    assert len(trials.bodies) < 15
    assert Asked(Trials(lambda _: STOPPED_BY_DEADLINE)).submit([sample()]).result(LONG_S) == []


def test_a_fault_of_the_engine_is_raised():
    def fail(_: float) -> Verdict:
        raise SandboxUnavailable("no engine")

    with pytest.raises(SandboxUnavailable):
        Asked(Trials(fail)).submit([sample()]).result(LONG_S)


def test_variants_that_fail_are_no_error():
    asked = Asked(Trials(lambda y: Verdict(Outcome.SCORED, (y,)) if y < 3 else Verdict(Outcome.CRASHED, error="no")))
    (answer,) = asked.submit([sample()]).result(LONG_S)
    assert answer.finish_reason == TUNED


@pytest.mark.parametrize(("is_last", "looks"), [(False, 3), (True, 0)])
def test_no_trial_begins_while_another_night_waits_for_a_slot(
    is_last: bool, looks: int, monkeypatch: pytest.MonkeyPatch
):
    problem = load_problem(Path(__file__).parents[1] / "specifications" / "toy.py")
    run, awaited = SimpleNamespace(problem=problem, seed=1, run_id="tests"), [False, True, True]
    evaluator = SimpleNamespace(submit_trial=lambda *_: len(awaited))
    monkeypatch.setattr(HostSlots, "are_awaited", lambda _: awaited.pop())
    trials = RunTrials(cast("Any", run), cast("Any", evaluator))
    if is_last:
        trials.is_last.set()
    assert trials.submit("return 1", "train") == 3 - looks, "the looks that are left"


@pytest.fixture
def run_source(sandbox_image: str, request: pytest.FixtureRequest) -> Iterator[TunerSource]:
    problem = load_problem(Path(__file__).parents[1] / "specifications" / request.param, {"validation": [2]})
    run: Any = SimpleNamespace(problem=problem, seed=1, run_id="tests")
    with (
        open_sandboxes(problem, "train", seed=1, run_id="tests") as sandbox,
        ThreadPoolExecutor(2) as threads,
    ):
        evaluator = Evaluator(sandbox, problem.specification, set, lambda *_: None, threads)
        trials = RunTrials(run, evaluator)
        yield tuner_source(run, trials, lambda: True)
        trials.close()


@pytest.mark.docker
@pytest.mark.parametrize("run_source", ["toy.py"], indirect=True)
def test_a_function_is_tuned_in_the_sandbox(run_source: TunerSource):
    (answer,) = run_source.submit([sample("return 0.5 * offset + 2.0")], lambda _: None).result(LONG_S)
    assert answer.finish_reason == TUNED, answer
    assert answer.evaluations > 10


@pytest.mark.docker
@pytest.mark.parametrize("run_source", ["hill"], indirect=True)
def test_a_file_is_tuned_in_the_sandbox(run_source: TunerSource):
    (answer,) = run_source.submit([sample("x = 2.0\ny = 5.0")], lambda _: None).result(LONG_S)
    assert answer.finish_reason == TUNED, answer
    assert "# EVOLVE-BLOCK-START" in answer.text
