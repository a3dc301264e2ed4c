"""Completions become candidates: what an answer that was cut off is told, and which programs are not new."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from overnight.flows.start.create_run import start_generation
from overnight.schemas.generation import RunRecord
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion, Prompt
from overnight.schemas.settings import parse_settings
from overnight.tasks.program.make_problem import restore_problem
from overnight.tasks.sample.sampler import to_candidates
from overnight.tasks.select.selection import judge

TEXT = """
import funsearch

@funsearch.evolve
def total(items):
    result = 0
    for item in items:
        result += item * 2
    return result

@funsearch.run
def run(seed):
    return float(total([seed]))
"""
UNFINISHED = "Let me think about this problem. First, the sum of all"
FINISHED = "```python\ndef total_v1(items):\n    return max(items)\n```"


def problem(text: str = TEXT, max_tokens: int | None = 500, **search: Any) -> Problem:
    given = {"search": search, "sampling": {"max_tokens": max_tokens}, "inputs": [1]}
    return restore_problem("total", text, parse_settings(given, "a test").model_dump(mode="json"))


def verdict_on(answer: str, finish_reason: str, problem: Problem = problem()) -> Verdict | None:  # noqa: B008
    completion = Completion(0, 0, "", answer, "m", 1, 500, 0.0, 0.0, finish_reason, datetime.now(UTC))
    (candidate,) = to_candidates([Prompt(0, "0", ("p",), "m", "chat", "?", (0,))], [completion], problem)
    return candidate.verdict


@pytest.mark.parametrize("reason", ["length", "MAX_TOKENS", "model_length"])
@pytest.mark.parametrize("answer", [UNFINISHED, "", "```python\ndef total_v1(items):\n    x = (1 +"])
def test_an_answer_without_a_program_that_was_cut_off_names_the_limit_and_the_way_out(answer: str, reason: str):
    verdict = verdict_on(answer, reason)
    assert verdict is not None
    assert verdict.outcome is Outcome.UNPARSABLE
    assert verdict.error == (
        "the answer was cut off at `sampling.max_tokens` (500) and holds no program: raise it, such as to 1000"
    )


def test_without_a_limit_of_ours_it_was_the_provider_s():
    verdict = verdict_on(UNFINISHED, "length", problem(max_tokens=None))
    assert verdict is not None
    assert "cut off at the provider's limit" in verdict.error


def test_an_answer_that_ended_far_below_our_limit_met_another_one():
    verdict = verdict_on(UNFINISHED, "length", problem(max_tokens=16_384))
    assert verdict is not None
    assert "cut off at the provider's limit, before `sampling.max_tokens` (16384)" in verdict.error
    assert "raise it" not in verdict.error


def test_an_answer_that_holds_a_program_is_used_even_if_it_was_cut_off():
    assert verdict_on(FINISHED + "\nThis is better because", "length") is None


def test_an_answer_that_ended_by_itself_has_the_parser_s_error():
    verdict = verdict_on(UNFINISHED, "stop")
    assert verdict is not None
    assert verdict.error == "no function total_v1 and no body of one"


@pytest.mark.parametrize("text", [FINISHED + "\n" + "x" * 110_000, FINISHED.replace("max", "+" * 110_000 + "max")])
def test_an_answer_that_is_far_longer_than_any_program_is_not_read(text: str):
    verdict = verdict_on(text, "stop")
    assert verdict is not None
    assert verdict.outcome is Outcome.UNPARSABLE
    most = 100_000 + len(problem().specification.start_body)
    assert verdict.error.endswith(f"characters, at most {most} are read")


RENAMED = """```python
def total_v1(items):
    \"\"\"Adds up.\"\"\"
    s = 0
    for x in items:
        s += x * (1 + 1)
    return s
```"""
CHANGED = RENAMED.replace("(1 + 1)", "(1 + 2)")
SCORED = Verdict(Outcome.SCORED, scores=(1.0,))


def outcomes(problem: Problem, *answers: str) -> list[Outcome]:
    """Return the outcomes of answers to a prompt of the start program, which all score."""
    start = start_generation(RunRecord("r", problem, 0, datetime.now(UTC), "", "", {}), SCORED).judged[0]
    prompt = Prompt(0, "0", (start.id,), "m", "chat", "Improve it.", tuple(range(len(answers))))
    completions = [
        Completion(0, number, "", text, "m", 1, 1, 0.0, 0.0, "stop", datetime.now(UTC))
        for number, text in enumerate(answers)
    ]
    candidates = to_candidates([prompt], completions, problem)
    judged = judge("r", 1, [(one, SCORED) for one in candidates], "mean", {start.candidate.code_hash})
    return [one.verdict.outcome for one in judged]


def test_the_start_program_with_other_names_is_a_duplicate():
    assert outcomes(problem(), RENAMED, CHANGED) == [Outcome.DUPLICATE, Outcome.SCORED]


def test_so_is_another_candidate_with_other_names():
    assert outcomes(problem(), CHANGED, CHANGED.replace("x", "value")) == [Outcome.SCORED, Outcome.DUPLICATE]


@pytest.mark.parametrize("search", [{"novelty": "layout"}, {"algorithm": "funsearch"}])
def test_with_layout_or_as_in_the_paper_it_is_new(search: dict[str, Any]):
    assert outcomes(problem(**search), RENAMED) == [Outcome.SCORED]


def test_a_problem_that_looks_at_how_a_program_is_written_compares_layout():
    golf = TEXT.replace("return float(total([seed]))", "return -float(len(inspect.getsource(total)))")
    assert outcomes(problem(golf), RENAMED) == [Outcome.SCORED]


def test_names_of_the_file_around_the_marks_are_not_taken_for_local_ones():
    text = "def f(x):\n    # EVOLVE-BLOCK-START\n    y = x\n    # EVOLVE-BLOCK-END\n    return y\n"
    settings = {"command": {"program": "f.py", "evaluate": ["python", "{program}"]}, "inputs": [1]}
    file = restore_problem("f", text, settings | {"search": {"novelty": "meaning"}})
    assert file.code_hash("    y = x") == file.code_hash("    y = (x)  # the same")
    assert file.code_hash("    y = x") != file.code_hash("    z = x")
    assert file.code_hash("    t = x\n    y = t") == file.code_hash("    u = x\n    y = u")
