"""What a prompt says of the last try on its best version: its code, error, output and scores, within a limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.algorithm import Plan
from schemas.feedback import Feedback, latest_feedback
from schemas.marked_file import read_marked
from schemas.outcome import Outcome
from schemas.problem import load_problem
from schemas.program import Program
from schemas.settings import Sampling, Search
from tasks.problems import find
from tasks.sample.feedback import render_feedback
from tasks.sample.prompts import build_prompts

SPECIFICATION = load_problem(find("bin-packing-or")).specification
PARENT = Program("p", "return bins", (1.0, 2.0), 1.5)
CRASHED = Feedback("p", "return 1 / 0", Outcome.CRASHED, "ZeroDivisionError: division by zero", "hello", (), None)
LOWER = Feedback("p", "return -bins", Outcome.SCORED, "", "", (0.0, 1.0), 0.5)


def told(feedback: Feedback | None, chars: int = 2000) -> str:
    return render_feedback(Plan("0", (PARENT,), feedback), SPECIFICATION, chars)


def test_a_failed_try_is_told_with_its_code_its_error_and_what_it_printed():
    text = told(CRASHED)
    for part in ("```python\n", "return 1 / 0", "It was crashed: ZeroDivisionError: division by zero", "hello"):
        assert part in text


def test_a_lower_score_is_told_beside_the_parent_s_input_by_input():
    assert "It scored 0.5, the best version 1.5. On the inputs, in order: 0, 1; the best version: 1, 2." in told(LOWER)


def test_nothing_is_told_without_a_lesson_or_without_room():
    assert told(None) == ""
    assert told(CRASHED, 0) == ""


@given(
    body=st.text(max_size=3000), error=st.text(max_size=3000), output=st.text(max_size=3000), chars=st.integers(8, 900)
)
def test_it_keeps_to_the_limit_and_its_fences_are_its_own(body: str, error: str, output: str, chars: int):
    file = read_marked("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n", "x.py")
    feedback = replace(CRASHED, body=body, error=error, output=output)
    text = render_feedback(Plan("0", (PARENT,), feedback), file, chars)
    assert len(text) <= chars + 150
    assert text.count("```") in (2, 4)


@pytest.mark.parametrize(("style", "is_told"), [("chat", True), ("completion", False)])
def test_only_chat_models_are_told(style: str, is_told: bool):
    sampling = Sampling.model_validate({"models": [{"name": "m", "style": style}]})
    (prompt,) = build_prompts(
        [Plan("0", (PARENT,), CRASHED)], SPECIFICATION, sampling, feedback_chars=500, samples=1, seed=1, generation=1
    )
    assert ("ZeroDivisionError" in prompt.text) is is_told


def test_it_is_off_by_default_and_with_the_algorithm_of_the_paper():
    assert Search().feedback_chars == 0
    assert Search.model_validate({"algorithm": "funsearch", "feedback": 500}).feedback_chars == 0
    assert Search(feedback=500).feedback_chars == 500


@pytest.mark.parametrize(
    ("feedback", "is_kept"),
    [
        (CRASHED, True),
        (LOWER, True),
        (replace(LOWER, score=1.5), False),
        (replace(CRASHED, outcome=Outcome.SANDBOX_ERROR), False),
        (replace(CRASHED, outcome=Outcome.DUPLICATE), False),
        (replace(CRASHED, body="", outcome=Outcome.UNPARSABLE), False),
    ],
)
def test_a_lesson_is_a_try_that_failed_by_itself_or_scored_lower(feedback: Feedback, is_kept: bool):
    assert (latest_feedback([feedback], {"p": 1.5}.get) == {"p": feedback}) is is_kept


def test_the_last_one_counts():
    assert latest_feedback([CRASHED, LOWER], {"p": 1.5}.get) == {"p": LOWER}
