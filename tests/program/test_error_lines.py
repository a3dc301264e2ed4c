"""Errors name the line that a model wrote, of its own file or function."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.error_lines import with_line_of_answer
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.codecs.functions import parse

ONE = read_specification(
    '"""A problem."""\nimport funsearch\n\n\n@funsearch.evolve\ndef f(x):\n    """What it is."""\n    return x\n\n\n'
    "@funsearch.run\ndef evaluate(n):\n    values = [f(n)]\n    return sum(values)\n",
    "one.py",
)
_loaded = load_problem(Path(__file__).parents[1] / "specifications/several.py").specification
assert isinstance(_loaded, Specification)
SEVERAL = _loaded


def error_of(specification: Specification, body: str, run: str) -> str:
    """Return the error of a program as the sandbox tells it."""
    import funsearch

    text = specification.with_body(body)
    scope = {"funsearch": funsearch}
    try:
        exec(compile(text, "program.py", "exec"), scope)
        eval(run, scope)
    except (NameError, TypeError, IndexError) as error:
        line = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "program.py"][
            -1
        ]
        code = text.splitlines()[(line or 0) - 1].strip()
        return f"{type(error).__name__}: {error}, in line {line} ({code}), on input 1 of 2 (500, 1)"
    raise AssertionError


def told(answer: str, run: str, specification: Specification = ONE, version: int = 1) -> str:
    parsed = parse(answer, specification, version, "")
    assert parsed.verdict is None
    found = error_of(specification, parsed.body, run)
    return with_line_of_answer(found, specification, parsed.body, answer).partition(", in")[2]


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("So:\n```python\ndef f_v1(x):\n    y = 1 / x\n    return itm\n```", " line 3 (return itm)"),
        ("# idea: a\n\ndef f_v1(x):\n    # why\n    return itm", " line 3 (return itm)"),
        ("    return itm", " (return itm)"),
        ("```\nT = [1]\ndef g(x):\n    return T[x]\n\ndef f_v1(x):\n    return g(x + 1)\n```", " line 3 (return T[x])"),
        (
            "```\ndef f_v1(x):\n    if x < 0:\n        return 1\n    return f_v1(x - 1) + y\n```",
            " line 4 (return f(x - 1) + y)",
        ),
        ("```\ndef f_v1(x):\n    if x:\n        return itm\n    return itm\n```", " line 3 (return itm)"),
        ("```\ndef f_v1(x):\n    return [x]\n```", " line 14 of the problem's file (return sum(values))"),
        ("```\nT = [[1]]\ndef f_v1(x):\n    return T\n```", " line 14 of the problem's file (return sum(values))"),
    ],
)
def test_the_line_is_that_of_the_code_which_a_model_wrote(answer: str, place: str):
    assert told(answer, "evaluate(2)") == f"{place}, on input 1 of 2 (500, 1)"


def test_of_several_functions_lines_are_those_of_their_code_blocks():
    guess = "```\ndef guess_v1(x, state):\n    return x\n```"
    answer = f"{guess}\nand\n```\ndef update_v1(state, error):\n    a = 1\n    return itm\n```"
    assert told(answer, "update(1, 2)", SEVERAL).startswith(" line 3 (return itm)")


@pytest.mark.parametrize("error", ["", "took more than 2 s on input 1 of 1 (3)", "ValueError: in line 3 of it"])
def test_other_errors_stay_as_they_are(error: str):
    assert with_line_of_answer(error, ONE, "return x", "    return x") == error


@pytest.mark.parametrize("number", ["100000000000000", "1" + "0" * 30, "9" * 5000, "999999999", "17", "0", "1"])
def test_a_place_in_the_text_of_an_error_stays_as_it_is(number: str):
    text = f"ValueError: , in line {number}, on input 0"
    place = ", on input 1 of 2 (3)"
    assert with_line_of_answer(f"{text}{place}", ONE, "return x", "    return x") == f"{text}{place}"
    comment = f"(return x # {text}, while it was loaded)"
    told = with_line_of_answer(f"{text}, in line 14 {comment}{place}", ONE, "return x", "    return x")
    assert told == f"{text}, in line 14 of the problem's file {comment}{place}"


@pytest.mark.parametrize("number", ["16", "17", "999999999"])
def test_a_line_that_the_program_does_not_have_is_told_by_its_code_alone(number: str):
    told = with_line_of_answer(f"ValueError: a, in line {number} (b), on input 0", ONE, "return x", "    return x")
    assert told == "ValueError: a, in (b), on input 0"
    told = with_line_of_answer(f"ValueError: a, in line {number}, on input 0", ONE, "return x", "    return x")
    assert told == "ValueError: a, on input 0"
