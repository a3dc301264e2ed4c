"""The verdict on an answer that was cut off says where, and what to do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.outcome import Outcome, Verdict
from schemas.program import Completion, Prompt
from schemas.settings import parse_settings
from tasks.program.make_problem import restore_problem
from tasks.sample.sampler import to_candidates

TEXT = """
import funsearch

@funsearch.evolve
def total(items):
    return sum(items)

@funsearch.run
def run(seed):
    return float(total([seed]))
"""
UNFINISHED = "Let me think about this problem. First, the sum of all"
FINISHED = "```python\ndef total_v1(items):\n    return max(items)\n```"


def verdict_on(answer: str, finish_reason: str, settings: dict[str, Any] | None = None) -> Verdict | None:
    if settings is None:
        settings = parse_settings({"sampling": {"max_tokens": 500}}, "a test").model_dump(mode="json")
    problem = restore_problem("total", TEXT, {**settings, "inputs": [1]})
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
    settings = parse_settings({"sampling": {"max_tokens": None}}, "a test").model_dump(mode="json")
    verdict = verdict_on(UNFINISHED, "length", settings)
    assert verdict is not None
    assert "cut off at the provider's limit" in verdict.error


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
    assert verdict.error.endswith("characters, at most 100017 are read")
