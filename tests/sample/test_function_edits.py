"""A model may answer with edits of the latest version of long functions, which are applied or refused clearly."""

from __future__ import annotations

from typing import Any

import pytest

from overnight.schemas.algorithm import Plan
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import Program, Prompt
from overnight.schemas.settings import parse_settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program.make_problem import restore_problem
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import LONG_LINES, ParsedCompletion, codec_of
from overnight.tasks.sample.prompts import build_prompts

STEPS = "\n".join(f"total += {number} * x" for number in range(LONG_LINES))
BODY = f"total = 0\n{STEPS}\nif x > 9:\n    return solve(x - 1)\nreturn total"
SHORT = "return x"
TEXT = '''"""Guess a number."""
import funsearch

@funsearch.evolve
def solve(x):
    """Return a guess."""
    return x

@funsearch.run
def run(seed):
    return float(solve(seed))
'''
SEVERAL = TEXT.replace("    return x\n", "    return step(x)\n\n@funsearch.evolve\ndef step(x):\n    return x\n")


def problem(text: str = TEXT, **search: Any) -> Problem:
    chat = {"models": [{"name": "openai/m"}]}
    settings = parse_settings({"search": search, "sampling": chat, "inputs": [1]}, "a test").model_dump(mode="json")
    return restore_problem("guess", text, settings)


def prompt(body: str = BODY, problem: Problem = problem()) -> Prompt:  # noqa: B008
    plan = Plan("0", (Program("a", SHORT, (1.0,), 1.0), Program("b", body, (2.0,), 2.0)))
    return build_prompts({0: plan}, problem, seed=0, generation=1)[0]


def edit(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


def parsed(answer: str, body: str = BODY, skeleton: Skeleton | None = None) -> ParsedCompletion:
    skeleton = skeleton or problem().specification
    return codec_of(skeleton.kind).parse(answer, skeleton, 2, body)


def test_the_prompt_of_a_long_function_offers_edits_of_the_latest_version():
    asked = prompt().text
    assert "you may answer with edits of `solve_v1` instead, each as `<<<<<<< SEARCH`" in asked
    assert asked.index("Answer with one Python code block") < asked.index("SEARCH")


def test_that_of_a_short_one_does_not():
    assert "SEARCH" not in prompt(SHORT).text


@pytest.mark.parametrize("search", [{"facts": False}, {"algorithm": "funsearch"}])
def test_prompts_without_facts_stay_as_they_were(search: dict[str, Any]):
    before = prompt(BODY, problem(**search))
    assert "SEARCH" not in before.text


@pytest.mark.parametrize("fence", ["", "```python\n", "```\n"])
def test_edits_are_applied_to_the_version_that_the_prompt_shows(fence: str):
    edits = edit("    total += 7 * x", "    total += 70 * x") + edit("    total = 0", "    total = 1\n")
    answer = f"# idea: larger steps\n{fence}{edits}{fence and '```'}"
    assert parsed(answer).body == BODY.replace("7 * x", "70 * x", 1).replace("total = 0", "total = 1\n")


def test_the_version_may_call_itself_by_either_name():
    for name in ("solve_v1", "solve_v2"):
        answer = edit("        return solve_v1(x - 1)", f"        return {name}(x - 2)")
        assert parsed(answer).body == BODY.replace("x - 1", "x - 2")


def test_an_edit_may_rename_the_version_and_replace_its_docstring():
    answer = edit(
        'def solve_v1(x):\n    """Improved version of `solve_v0`."""',
        'def solve_v2(x):\n    """Improved version of `solve_v1`."""\n    x = abs(x)',
    )
    assert parsed(answer).body == f"x = abs(x)\n{BODY}"


def test_an_edit_may_begin_with_the_header_as_it_is_shown_with_scores_or_without():
    scored = (
        "<<<<<<< SEARCH\ndef solve_v1(x):\n    total = 0\n=======\ndef solve_v2(x):\n    total = 7\n>>>>>>> REPLACE"
    )
    unscored = scored.replace("solve_v1(x):\n", 'solve_v1(x):\n    """Improved version of `solve_v0`."""\n')
    for text in (scored, unscored):
        assert parsed(text).body == BODY.replace("total = 0", "total = 7")


def test_an_edit_may_add_a_helper_above_the_function():
    answer = edit("def solve_v1(x):", "def twice(x):\n    return 2 * x\n\n\ndef solve_v1(x):") + edit(
        "    return total", "    return twice(total)"
    )
    assert parsed(answer).body.startswith("def twice(x):\n    return 2 * x\n")


def test_of_several_functions_any_may_be_edited():
    skeleton = problem(SEVERAL).specification
    body = skeleton.start_body
    found = parsed(edit("    return x", "    return x + 1"), body, skeleton)
    assert found.body == body.replace("return x", "return x + 1")
    assert (
        "with edits of the last version instead"
        in prompt(body.replace("    return step(x)", "    x += 1\n" * 70 + "    return step(x)"), problem(SEVERAL)).text
    )


REFUSED = {
    "lines of another version": (
        edit("    return x", "    return 2 * x"),
        "edit 1 of 1: the lines to replace are not in the best version",
    ),
    "no end": (edit("    total = 0", "    total = 1") + "<<<<<<< SEARCH\n    return", "an edit that has no end"),
    "a broken result": (edit("    total = 0", "    total = (0"), "after the edits: '(' was never closed"),
    "no function left": (edit("def solve_v1(x):", "def other(x, y):"), "after the edits: no function solve_v1"),
}


@pytest.mark.parametrize(("answer", "error"), REFUSED.values(), ids=REFUSED)
def test_edits_that_do_not_fit_are_refused_with_the_reason(answer: str, error: str):
    verdict = parsed(answer).verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.error) == (Outcome.UNPARSABLE, error)


def test_a_call_of_an_earlier_version_is_refused_as_in_a_whole_function():
    verdict = parsed(edit("    return total", "    return solve_v0(x)")).verdict
    assert verdict is not None
    assert (verdict.outcome, verdict.error) == (Outcome.REJECTED, "calls its ancestor solve_v0")


def test_a_whole_function_is_still_an_answer():
    assert parsed("```python\ndef solve_v2(x):\n    return 3 * x\n```").body == "return 3 * x"


def test_the_built_in_model_answers_a_prompt_that_offers_edits():
    found = [parsed(mutate(prompt().text, seed)) for seed in range(6)]
    assert all(each.verdict is None for each in found)
