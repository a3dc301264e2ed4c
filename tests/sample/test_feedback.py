"""Test the feedback in a prompt: code, error, output and scores of the last child of its best version."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.algorithm import Plan
from schemas.feedback import Feedback, latest_feedback
from schemas.outcome import Outcome
from schemas.program import Program
from schemas.search_settings import Search
from tasks.problems import find
from tasks.problems.loading.load import load_problem
from tasks.program.marked_file import read_marked
from tasks.sample.prompts import build_prompts, render_feedback

SPECIFICATION = load_problem(find("bin-packing-or")).specification
PARENT = Program("p", "return bins", (1.0, 2.0), 1.5)
CRASHED = Feedback("p", "return 1 / 0", Outcome.CRASHED, "ZeroDivisionError: division by zero", "hello", (), None)
LOWER = Feedback("p", "return -bins", Outcome.SCORED, "", "", (0.0, 1.0), 0.5)


def rendered(feedback: Feedback | None, chars: int = 2000) -> str:
    return render_feedback(Plan("0", (PARENT,), feedback), SPECIFICATION, chars)


def test_feedback_on_a_failed_child_has_code_error_and_output():
    text = rendered(CRASHED)
    for part in ("```python\n", "return 1 / 0", "It was crashed: ZeroDivisionError: division by zero", "hello"):
        assert part in text


def test_feedback_on_a_lower_score_lists_the_scores_of_child_and_parent_by_input():
    assert "It scored 0.5, the best version 1.5. On the inputs, in order: 0, 1; the best version: 1, 2." in rendered(
        LOWER
    )


def test_the_text_is_empty_without_feedback_or_room():
    assert rendered(None) == ""
    assert rendered(CRASHED, 0) == ""


@given(
    body=st.text(max_size=3000), error=st.text(max_size=3000), output=st.text(max_size=3000), chars=st.integers(8, 900)
)
def test_the_length_is_limited_and_content_cannot_end_a_fence(body: str, error: str, output: str, chars: int):
    file = read_marked("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n", "x.py")
    feedback = replace(CRASHED, body=body, error=error, output=output)
    text = render_feedback(Plan("0", (PARENT,), feedback), file, chars)
    assert len(text) <= chars + 150
    assert text.count("```") in (2, 4)


@pytest.mark.parametrize(("style", "has_feedback"), [("chat", True), ("completion", False)])
def test_only_prompts_of_chat_models_have_feedback(style: str, has_feedback: bool):
    settings = {"sampling": {"models": [{"name": "m", "style": style}]}, "search": {"feedback": 500}}
    problem = load_problem(find("bin-packing-or"), settings)
    (prompt,) = build_prompts({0: Plan("0", (PARENT,), CRASHED)}, problem, seed=1, generation=1)
    assert ("ZeroDivisionError" in prompt.text) is has_feedback


def test_feedback_is_on_by_default_and_off_with_the_algorithm_of_the_paper():
    assert Search().feedback_chars > 1000
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
def test_feedback_is_kept_for_children_that_failed_or_scored_lower(feedback: Feedback, is_kept: bool):
    assert (latest_feedback([feedback], {"p": 1.5}.get) == {"p": feedback}) is is_kept


def test_the_last_feedback_is_kept():
    assert latest_feedback([CRASHED, LOWER], {"p": 1.5}.get) == {"p": LOWER}
