"""Inputs that a problem's own function draws: further ones for a run, some for an audit, and others for agents."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.cli.check import _try_generator
from overnight.flows.start import generated_inputs
from overnight.flows.start.audit import Finding, audit
from overnight.flows.start.generated_inputs import (
    describe_generator,
    job_for_agents,
    job_on_drawn,
    open_generator,
    settle_alike,
    settle_inputs,
)
from overnight.flows.start.trust import accept
from overnight.schemas.errors import SpecificationError
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.tasks.history import stored_run
from overnight.tasks.problems.loading.load import load_problem
from tests.flows.conftest import Night
from tests.in_process import InProcess

PROBLEM = '''"""Return a number near the input."""
# /// script
# [tool.overnight]
# inputs = [[3, 1], [4, 2]]
# held_out = [[5, 3]]
# [tool.overnight.known]
# honesty = -1
# honesty_held_out = -2
# ///
import time
import funsearch

@funsearch.run
def evaluate(n, seed):
    return -abs(f(n) - n - seed % 7)

@funsearch.inputs
def fresh(seed):
    BODY

@funsearch.evolve
def f(n):
    return n
'''

Load = Callable[..., Problem]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(body: str = "return [seed % 1000, seed]", above: str = "", **settings: Any) -> Problem:
        path = tmp_path / "near.py"
        path.write_text(PROBLEM.replace("BODY", body).replace("import funsearch\n", f"import funsearch\n{above}\n"))
        problem = load_problem(path, settings)
        return accept(problem, settings, trust=False) if settings else problem

    return load


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds are drawn from 1,000,000 on for validation, then from 2,000,000 on."""
    drawn = itertools.count(999_000, 1_000_000)
    monkeypatch.setattr(generated_inputs, "secrets", SimpleNamespace(randbelow=lambda _: next(drawn)))


@pytest.mark.usefixtures("in_process")
def test_no_program_can_know_the_seeds_of_inputs_that_are_kept_back(load: Load):
    problem = load("return [seed, 1]", generated={"held_out": 3, "validation": 3})
    settled = [settle_inputs(problem, run_id="r").inputs for _ in range(2)]
    first = [calls[split][-3].args[0] for calls in settled for split in ("validation", "held_out")]
    assert len(set(first)) == 4, "the same for no other run, nor for another split"
    assert all(1000 <= seed < 2**31 for seed in first)


@pytest.mark.usefixtures("in_process")
def test_runs_that_are_compared_have_the_same_drawn_inputs(load: Load):
    models = [{"sampling": {"models": [{"name": name}]}} for name in ("builtin/mutate", "builtin/search")]
    first, second = settle_alike([load(generated={"held_out": 2}, **one) for one in models], run_id="r")
    assert first.inputs == second.inputs
    assert first.settings.held_out == second.settings.held_out
    assert [one.settings.sampling.models[0].name for one in (first, second)] == ["builtin/mutate", "builtin/search"]
    assert settle_inputs(second, run_id="r") is second


@pytest.mark.usefixtures("in_process", "seeds")
def test_a_run_has_as_many_held_out_inputs_as_are_asked_for_and_no_known_score_of_others(load: Load):
    problem = load(generated={"held_out": 200, "validation": 5})
    settled = settle_inputs(problem, run_id="r")
    assert {split: len(calls) for split, calls in settled.inputs.items()} == {
        "train": 2,
        "validation": 5,
        "held_out": 201,
    }
    assert settled.inputs["held_out"][:2] == (*problem.inputs["held_out"], settled.specification.call([0, 2000000], ""))
    assert settled.settings.held_out[1] == [0, 2000000]
    assert (settled.settings.known.honesty, settled.settings.known.honesty_held_out) == (-1, None)
    assert settle_inputs(settled, run_id="r") is settled, "a stored run has its inputs"
    assert settle_inputs(load(), run_id="r").settings.known.honesty_held_out == -2


@pytest.mark.usefixtures("in_process", "seeds")
@pytest.mark.parametrize(
    ("body", "message", "remedy"),
    [
        ("return [1 / (seed - 2000002), 1]", "no input for the seed 2000002: ZeroDivisionError", "Correct it"),
        ("return [seed // 2, 1]", "the seed 2000001 is that for the seed 2000000, too", "generated.held_out=1"),
        ("return [5, 3]", "drawn for the seed 2000000 is one of `held_out`", "generated.held_out=0"),
        ("return {seed}", "seed 2000000: TypeError: Object of type set is not JSON serializable", "Correct it"),
        ("return float('nan')", "made of numbers, text, lists and dicts, as in `inputs`", "Correct it"),
        ("return [1, 2, 3]", "the input for the seed 2000000 is [1, 2, 3], but `evaluate` takes 2", "array"),
    ],
)
def test_a_generator_that_fails_or_repeats_itself_is_named_with_its_seed(
    load: Load, body: str, message: str, remedy: str
):
    with pytest.raises(SpecificationError) as caught:
        settle_inputs(load(body, generated={"held_out": 4}), run_id="r")
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_a_slow_generator_is_ended_by_its_limit(load: Load):
    problem = load("time.sleep(9)", sandbox={"backend": "process"}, limits={"wall_s": 0.2})
    with open_generator(problem, "r") as draw, pytest.raises(SpecificationError) as caught:
        draw(7)
    assert "`fresh` draws no input for the seed 7: took more than 0.2 s of wall clock" in caught.value.message
    assert "Draw it in less than 10 s" in caught.value.remedy


def test_many_inputs_that_are_drawn_slowly_are_given_up(
    load: Load, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("overnight.flows.start.generated_inputs._TOTAL_S", -1.0)
    with pytest.raises(SpecificationError, match="0 of 9 inputs for held_out were drawn in -1 s"):
        settle_inputs(load(generated={"held_out": 9}), run_id="r")


def test_the_time_to_draw_inputs_is_that_of_the_work_and_not_of_waiting_for_a_slot(
    load: Load, in_process: InProcess, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("overnight.flows.start.generated_inputs._TOTAL_S", 0.02)

    def waited(*_: object) -> None:
        time.sleep(0.01)

    in_process.fault = waited
    assert len(settle_inputs(load(generated={"held_out": 4}), run_id="r").inputs["held_out"]) == 5
    in_process.fault = lambda *_: Verdict(Outcome.SCORED, drawing="[7, 7]", cpu_s=0.03)
    with pytest.raises(SpecificationError, match=r"1 of 4 inputs for held_out were drawn in 0\.02 s"):
        settle_inputs(load(generated={"held_out": 4}), run_id="r")


def test_hostile_inputs_are_refused_and_the_sandbox_draws_on(load: Load):
    texts = "{0: '[' * 50000, 1: '9' * 99999, 2: '[1' * 900000}"
    forged = f"import json\njson.dumps = lambda value, **_: {texts}.get(value[0], str(value))"
    problem = load("return [seed, seed]", forged, sandbox={"backend": "process"})
    with open_generator(problem, "r") as draw:
        for seed in range(3):
            with pytest.raises(SpecificationError, match=f"no input for the seed {seed}"):
                draw(seed)
        assert draw(3) == [3, 3]


@pytest.mark.usefixtures("in_process")
def test_programs_of_agents_are_tried_on_inputs_that_the_problem_does_not_list(load: Load):
    problem = load("return [5, 3] if seed == 1 else [seed, 1]")
    with open_generator(problem, "r") as draw:
        job = job_for_agents(problem, draw, seed=1)
        listed = {call.args for calls in problem.inputs.values() for call in calls}
        assert {(3, 1), (5, 3)} <= listed
        assert [call.args for call in job.inputs] == [(n, 1) for n in range(99) if n != 1 and (n, 1) not in listed][:20]
        assert [call.args for call in job_on_drawn(problem, draw, range(2, 4), seed=1).inputs] == [(2, 1), (3, 1)]
    problem = load("return [5, 3]")
    with open_generator(problem, "r") as draw, pytest.raises(SpecificationError, match="are listed already"):
        job_for_agents(problem, draw, seed=1)


def test_a_busy_machine_makes_the_inputs_of_agents_no_fewer_and_none_is_drawn_twice(load: Load, in_process: InProcess):
    problem, seeds = load(), itertools.count()
    in_process.fault = lambda *_: Verdict(
        Outcome.SCORED, drawing=f"[{90 + next(seeds) // 2}, 1]", wall_s=150.0, cpu_s=0.1
    )
    with open_generator(problem, "r") as draw:
        job = job_for_agents(problem, draw, seed=1)
    assert [call.args for call in job.inputs] == [(90 + number, 1) for number in range(20)]


@pytest.mark.usefixtures("in_process")
def test_check_says_what_is_drawn_and_warns_of_what_cannot(load: Load, capsys: pytest.CaptureFixture[str]):
    described = describe_generator(load(), "r")
    assert described == "`evaluate` may have further inputs, drawn by `fresh`: such as (0, 0) for the seed 0"
    assert _try_generator(load()) == []
    for body, message in (
        ("return [1, 1]", "draws the same input for several seeds"),
        ("return [seed, time.perf_counter_ns()]", "draws two inputs for the seed 0"),
        ("raise OSError('no')", "draws no input for the seed 0: OSError: no"),
    ):
        (warning,) = _try_generator(load(body))
        assert message in warning
        assert message in capsys.readouterr().err.replace("\n", " ")


def tried(problem: Problem, body: str) -> Finding:
    found = audit(problem, body, "the best program", seed=1, note=lambda _: None)
    return next(one for one in found if "nobody has seen" in one.tried)


@pytest.mark.usefixtures("in_process", "seeds")
def test_an_audit_tries_a_winner_on_inputs_that_nobody_has_seen(load: Load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overnight.flows.start.audit._endless", lambda *_: Finding("no end", "timed_out"))
    learned = "return n + {3: 1, 4: 2}.get(n, -9)"
    found = tried(load(), learned)
    assert (found.result, found.remark) == ("look", "it is better on the training inputs alone"), found
    assert tried(load(), "return n + 3").result == "ok"
    assert tried(load(), "return n").came.startswith("scores -")
    failed = tried(load(), "return {3: 4, 4: 6}[n]")
    assert (failed.result, failed.remark) == ("look", "it has a score on the problem's own inputs alone")
    assert "for the seed 5000000: ZeroDivisionError" in tried(load("return 1 / 0"), learned).came


@pytest.mark.usefixtures("seeds")
def test_a_run_stores_the_inputs_that_were_drawn_for_it(night: Night, load: Load, tmp_path: Path):
    load()
    files = night(1, problem=tmp_path / "near.py", settings={"generated": {"held_out": 3}})
    problem = stored_run.read_run(files).problem
    assert [call.args for call in problem.inputs["held_out"]] == [(5, 3), (0, 2000000), (1, 2000001), (2, 2000002)]
    assert problem.settings.generated.held_out == 0
