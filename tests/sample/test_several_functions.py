"""Test functions that evolve together: in bodies, in prompts, and in completions that may leave some of them out."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from overnight.schemas.algorithm import Plan
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Program
from overnight.schemas.sampling_settings import Model
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import PromptContent
from overnight.tasks.sample.codecs.functions import parse, render
from overnight.tasks.sample.prompts import build_prompts

SEVERAL = Path(__file__).parents[1] / "specifications/several.py"
LOADED = load_problem(SEVERAL).specification
assert isinstance(LOADED, Specification)
SPECIFICATION = LOADED
START = SPECIFICATION.start_body
BETTER = SPECIFICATION.join(["return x + state", "# slowly\nreturn state + 0.5 * error"])
CALLING_EACH_OTHER = SPECIFICATION.join(
    ["return update(x, state)", "if error:\n    return guess(error, state)\nreturn state"]
)
CHAT, COMPLETION = Model(name="m", style="chat"), Model(name="m", style="completion")


# The specification


def test_a_body_is_the_text_of_all_functions_in_the_order_of_the_file():
    assert SPECIFICATION.evolved == ("guess", "update")
    assert START == (
        "def guess(x: float, state: float) -> float:\n    return 0.0\n\n\n"
        "def update(state: float, error: float) -> float:\n    return state"
    )
    assert SPECIFICATION.split(BETTER) == ("return x + state", "# slowly\nreturn state + 0.5 * error")
    assert SPECIFICATION.join(SPECIFICATION.split(BETTER)) == BETTER == SPECIFICATION.bare_text(BETTER)


def test_with_body_changes_only_the_bodies():
    assert SPECIFICATION.with_body(START) == SPECIFICATION.text
    changed = SPECIFICATION.with_body(BETTER)
    assert [line for line in changed.splitlines() if line not in SPECIFICATION.text.splitlines()] == [
        "    return x + state",
        "    # slowly",
        "    return state + 0.5 * error",
    ]
    assert "@funsearch.evolve\ndef update(" in changed


def test_function_text_has_headers_docstrings_and_bodies():
    shown = SPECIFICATION.function_text(BETTER)
    assert '"""What comes out for x."""\n    return x + state\n\n\ndef update' in shown


# The prompt


@pytest.mark.parametrize("model", [CHAT, COMPLETION], ids=["chat", "completion"])
def test_a_prompt_shows_all_versions_of_all_functions_with_calls_renamed_by_version(model: Model):
    text = render(SPECIFICATION, PromptContent((START, CALLING_EACH_OTHER)), model)
    for name in ("guess_v0", "update_v0", "guess_v1", "update_v1", "guess_v2"):
        assert f"def {name}(" in text
    assert "return update_v1(x, state)" in text
    assert "return guess_v1(error, state)" in text
    assert text.count("What comes out for x.") == 1
    assert "evaluate" not in text


def test_a_completion_prompt_ends_with_the_first_header_and_a_chat_prompt_names_all_functions():
    tree = ast.parse(render(SPECIFICATION, PromptContent((START, BETTER)), COMPLETION))
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names == ["guess_v0", "update_v0", "guess_v1", "update_v1", "guess_v2"]
    chat = render(SPECIFICATION, PromptContent((START,)), CHAT)
    assert "Write `guess_v1` and `update_v1`" in chat
    assert '"""Improved version of `update_v0`."""\n```\n' in chat


# The completion

GUESS = 'def guess_v2(x, state):\n    """Improved."""\n    return x * state'
UPDATE = "def update_v2(state, error):\n    return state + guess_v2(error, 1)"
BOTH = ("return x * state", "return state + guess(error, 1)")
STYLES = {
    "both in one fence": f"```python\n{GUESS}\n\n\n{UPDATE}\n```",
    "a fence each": f"First:\n```python\n{GUESS}\n```\nand\n```python\n{UPDATE}\n```",
    "in the other order": f"{UPDATE}\n\n{GUESS}\n",
    "going on with the first": f"    return x * state\n\n\n{UPDATE}\n\n\ndef guess_v3(x, state):\n    retu",
    "plain names": f"{GUESS}\n\n{UPDATE}".replace("_v2", ""),
    "parents first": f"def guess_v1(x, y):\n  return 1\ndef update_v1(s, e):\n  return 2\n{GUESS}\n{UPDATE}",
    "with the scoring": f"{GUESS}\n{UPDATE}\ndef evaluate(seed):\n    return 9.0",
}


@pytest.mark.parametrize("completion", STYLES.values(), ids=STYLES)
def test_all_functions_are_found_in_every_style(completion: str):
    parsed = parse(completion, SPECIFICATION, 2, BETTER)
    assert parsed.verdict is None
    assert SPECIFICATION.split(parsed.body) == BOTH


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (GUESS, ("return x * state", "# slowly\nreturn state + 0.5 * error")),
        (UPDATE, ("return x + state", "return state + guess(error, 1)")),
        ("    return x * state", ("return x * state", "# slowly\nreturn state + 0.5 * error")),
    ],
)
def test_a_missing_function_keeps_its_body_of_the_best_parent(completion: str, expected: tuple[str, ...]):
    assert SPECIFICATION.split(parse(completion, SPECIFICATION, 2, BETTER).body) == expected


@pytest.mark.parametrize(
    ("completion", "outcome", "error"),
    [
        ("I cannot do that.", Outcome.UNPARSABLE, "guess_v2 or update_v2"),
        ("def other(x, state):\n    return 3", Outcome.UNPARSABLE, "guess_v2 or update_v2"),
        ("```\nx = 1\n```", Outcome.UNPARSABLE, "guess_v2 or update_v2"),
        ("def guess_v2(x, state):\n    return update_v1(x, state)", Outcome.REJECTED, "calls its ancestor update_v1"),
        ("def guess_v2(x, state):\n    pass", Outcome.REJECTED, "does nothing"),
    ],
)
def test_a_completion_without_a_valid_program_is_refused(completion: str, outcome: Outcome, error: str):
    verdict = parse(completion, SPECIFICATION, 2, BETTER).verdict
    assert verdict is not None
    assert verdict.outcome is outcome
    assert error in verdict.error


def test_a_helper_stands_beside_the_functions():
    text = f"def half(x):\n    return x / 2\n\n\n{GUESS.replace('x * state', 'half(x)')}\n\n\n{UPDATE}"
    body = parse(text, SPECIFICATION, 2, BETTER).body
    assert SPECIFICATION.beside(body) == "def half(x):\n    return x / 2"
    assert SPECIFICATION.split(body) == ("return half(x)", BOTH[1])
    kept = parse(UPDATE, SPECIFICATION, 2, body).body
    assert SPECIFICATION.beside(kept) == "def half(x):\n    return x / 2"


# The built-in model


def children(bodies: list[str], count: int, model: Model = CHAT) -> list[tuple[str, ...]]:
    programs = tuple(Program(str(n), body, (n,), n) for n, body in enumerate(bodies))
    models = {"models": [{"name": "builtin/mutate", "style": model.style}]}
    problem = load_problem(SEVERAL, {"sampling": models, "search": {"prompts": 1, "samples": count}})
    (prompt,) = build_prompts({0: Plan("0", programs)}, problem, seed=1, generation=1)
    completions = [parse(mutate(prompt.text, seed), SPECIFICATION, len(bodies), prompt.base) for seed in prompt.seeds]
    assert all(parsed.verdict is None for parsed in completions), [parsed.verdict for parsed in completions]
    return [SPECIFICATION.split(parsed.body) for parsed in completions]


@pytest.mark.parametrize("model", [CHAT, COMPLETION], ids=["chat", "completion"])
def test_the_built_in_model_changes_one_function_or_both(model: Model):
    old = SPECIFICATION.split(START)
    found = children([START], 40, model)
    changed = Counter(tuple(new != before for new, before in zip(child, old, strict=True)) for child in found)
    assert set(changed) == {(True, False), (False, True), (True, True)}
    assert changed[True, True] < 25


def test_the_built_in_model_takes_whole_functions_of_the_other_parent():
    first = SPECIFICATION.join(["return state * 3.25 + x", "return error * 7.75 - state"])
    assert any(set(SPECIFICATION.split(first)) & set(child) for child in children([first, BETTER], 120))
