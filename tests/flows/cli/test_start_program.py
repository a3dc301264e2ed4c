"""What `overnight check` says about several runs of the start program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.check import repeated_inputs
from overnight.flows.cli.start_program import (
    StartRuns,
    agreement,
    require_returned_score,
    require_start_body,
    say_calls,
    try_confirmation,
    unreturned,
)
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Call
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.read_specification import read_specification
from overnight.testing.made import TOY, a_problem


def scored(*scores: float) -> Verdict:
    return Verdict(Outcome.SCORED, scores)


def problem(*, noise: float = 0.0, validation: tuple[Any, ...] = ()) -> Problem:
    made = a_problem()
    inputs = {**made.inputs, "validation": validation}
    return replace(made, settings=made.settings.model_copy(update={"noise": noise}), inputs=inputs)


def test_held_out_inputs_that_choose_programs_too_are_a_warning():
    shared = replace(
        problem(), inputs={"train": (Call((1,)), Call((2,))), "validation": (Call((2,)), Call((3,))), "held_out": ()}
    )
    assert repeated_inputs(shared) == []
    shared = replace(shared, inputs={**shared.inputs, "held_out": (Call((2,)), Call((3,)), Call((4,)))})
    (warning,) = repeated_inputs(shared)
    assert warning.startswith("2 of 3 held-out inputs, such as (2), choose programs as training or validation inputs")


SAME, OTHER = scored(1.0, 2.0), scored(1.0, 2.5)
LATE = Verdict(Outcome.TIMED_OUT, error="took too long")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (StartRuns(SAME, SAME, SAME), "two runs agree, also with another seed"),
        (StartRuns(SAME, SAME, OTHER), "but with another seed the score is 1.75, not 1.5"),
        (StartRuns(SAME, OTHER, OTHER), "inputs 2 differ, by up to 0.5"),
        (StartRuns(SAME, LATE, LATE), "the second is timed_out: took too long"),
    ],
    ids=["repeats", "depends on the seed", "noisy", "fails once"],
)
def test_runs_are_compared_with_the_same_and_with_another_seed(runs: StartRuns, message: str):
    assert message in agreement(runs, problem()).text


def test_noise_is_proposed_from_the_largest_difference_between_any_two_runs():
    said = agreement(StartRuns(scored(1.0), scored(1.2), scored(3.0)), problem()).text
    assert "--set noise=5, and with validation inputs" in said
    assert "validation" not in agreement(StartRuns(SAME, OTHER, OTHER), problem(validation=((1,),))).text


def test_differences_within_the_declared_noise_are_no_warning():
    runs = StartRuns(SAME, OTHER, OTHER)
    assert agreement(runs, problem(noise=0.5)) == (
        "two runs differ by up to 0.5 on an input, which noise = 0.5 allows for",
        False,
    )
    assert agreement(runs, problem(noise=0.4)).is_warning


def test_a_file_whose_program_with_the_start_body_is_another_is_refused():
    require_start_body(problem(), Path("mine.py"))
    text = "@funsearch.run\ndef e(n): return p(n)\n@funsearch.evolve\ndef p(n) -> lambda: 0: return n\n"
    wrong = replace(problem(), specification=read_specification(text, "mine.py"))
    with pytest.raises(SpecificationError, match=r"mine.py: `p\(n\)` cannot be taken out"):
        require_start_body(wrong, Path("mine.py"))


def with_specification(text: str) -> Problem:
    return replace(problem(), specification=read_specification(text, "mine.py"))


@pytest.mark.parametrize(
    ("header", "body", "is_named"),
    [
        ("p(n) -> float", "x = n", True),
        ("p(n) -> float", "def inner(): return 1", True),
        ("p(n) -> float", "return", True),
        ("p(n) -> float", "if n: return 1.0", False),
        ("p(n) -> float", "raise ValueError", False),
        ("p(n)", "n.append(1)", False),
        ("p(n) -> None", "n.append(1)", False),
    ],
)
def test_an_evolved_function_that_never_returns_what_its_header_promises_is_named(
    header: str, body: str, is_named: bool
):
    text = f"@funsearch.run\ndef e(n): return p(n)\n@funsearch.evolve\ndef {header}:\n    {body}\n"
    found = unreturned(with_specification(text))
    assert bool(found) is is_named
    assert all(warning.startswith("`p` promises to return float") for warning in found)


def test_a_scoring_without_return_is_refused_by_its_name():
    text = "@funsearch.run\ndef e(n):\n    {}\n@funsearch.evolve\ndef p(n): return n\n"
    require_returned_score(with_specification(text.format("return p(n)")), Path("mine.py"))
    with pytest.raises(SpecificationError, match=r"mine.py: `e` never returns a value") as caught:
        require_returned_score(with_specification(text.format("score = p(n)")), Path("mine.py"))
    assert "return score" in caught.value.remedy


def test_a_confirmation_that_is_near_its_limit_is_warned_of(monkeypatch: pytest.MonkeyPatch):
    problem = load_problem(TOY, {"sandbox": {"confirm": "best"}, "limits": {"wall_s": 2}})
    first = Verdict(Outcome.SCORED, (1.0, 1.0), input_wall_s=(0.1, 0.1))
    slow = replace(first, input_wall_s=(0.1, 3.0))
    monkeypatch.setattr("overnight.flows.start.create_run.score_isolated", lambda *_, **__: slow)
    warnings = list[str]()
    assert try_confirmation(problem, first, warnings) == (slow, True)
    assert "took 3 s on an input, where 4 s are allowed" in warnings[0]
    assert warnings[0].endswith("--set limits.wall_s=10")


@pytest.mark.parametrize(
    ("state", "calls", "said"),
    [
        (
            "none",
            (3, 32),
            "an input makes up to 32 calls of the evolved part: each has to give the value that it would",
        ),
        ("calls", (3, 32), "a call may keep what it likes for the next ones on the same input"),
        ("none", (1, 1), ""),
    ],
)
def test_how_often_an_input_calls_and_what_a_call_may_keep_is_said(
    capsys: pytest.CaptureFixture[str], state: str, calls: tuple[int, ...], said: str
):
    say_calls(load_problem(TOY, {"state": state}), replace(scored(1.0, 2.0), calls=calls))
    printed = capsys.readouterr().err
    assert " ".join(said.split()) in " ".join(printed.split())
    assert bool(printed) is bool(said)
