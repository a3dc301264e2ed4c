"""The built-in model answers every prompt with code that parses, is new, and reads only names in scope."""

import ast
import subprocess
import sys
import textwrap
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.builtin.mutation_sites import survey
from overnight.tasks.sample.builtin.prompt_parsing import parse_prompt
from overnight.tasks.sample.builtin.trees import dump, size

PREFACE = '''"""Online bin packing. Item sizes are from 20 to 100, bins hold 150."""
import random

import numpy as np

MARGIN = 3


'''
PACKING = "def priority_v{}(item: float, bins: np.ndarray) -> np.ndarray:"
BEST_FIT = "return -(bins - item)"
TWO_PARTS = """\
gap = bins - item
if item > 60:
    gap = gap * 2
scores = np.where(gap < MARGIN, 100 - gap, -gap)
return scores"""
CAPS = "def priority_v{}(el: tuple[int, ...], n: int) -> float:"
LOOP = """\
score = 0.0
for i, x in enumerate(el):
    if x == 2:
        score += 0.5 * el[-i]
    elif x == 1 and i:
        score -= sum(v * v for v in el[i:]) / n
return score"""
SUM = """\
def weight(i):
    return 1 / (i + 1)
return sum(weight(i) * v for i, v in enumerate(el)) + max(el)"""


def make_prompt(header: str, *bodies: str, preface: str = PREFACE, indent: str = "    ") -> str:
    functions = [
        "\n".join([header.format(k), f'{indent}"""Version {k}."""', textwrap.indent(body, indent)])
        for k, body in enumerate(bodies)
    ]
    last = f'{header.format(len(bodies))}\n{indent}"""Improved version."""\n'
    return preface + "\n\n\n".join([*functions, last])


def in_chat(prompt: str) -> str:
    return (
        f"You improve functions.\nRules:\n- Answer with code.\n\n```python\n{prompt}```\n\nNow write it. def is a word."
    )


PROMPTS = {
    "one parent": make_prompt(PACKING, BEST_FIT),
    "two parents": make_prompt(PACKING, BEST_FIT, TWO_PARTS),
    "two spaces": make_prompt(PACKING, BEST_FIT, TWO_PARTS, indent="  "),
    "constant": make_prompt(CAPS, "return 0.0"),
    "loops": make_prompt(CAPS, LOOP, SUM),
    "chat": in_chat(make_prompt(CAPS, "return 0.0", LOOP)),
    "no annotations": make_prompt("def f_v{}(a, b=2):", "return a[0] * b", "return len(a) - b"),
    "text": make_prompt("def name_v{}(s: str) -> str:", "return s.upper()"),
    "method": make_prompt("def rank_v{}(graph: dict, *, k: int = 1) -> list[int]:", "return [k, 2, 3]"),
}


def function_of(completion: str) -> ast.FunctionDef:
    (function,) = ast.parse(completion).body
    assert isinstance(function, ast.FunctionDef)
    return function


def body_of(completion: str) -> list[ast.stmt]:
    function = function_of(completion)
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def source_of(body: list[ast.stmt]) -> str:
    return "\n".join(map(ast.unparse, body))


@cache
def answer(prompt: str, seed: int) -> str:
    """Return the answer; several tests look at the same ones."""
    return mutate(prompt, seed)


@pytest.fixture(params=list(PROMPTS.values()), ids=list(PROMPTS))
def prompt(request):
    return request.param


def test_answers_with_the_function_that_the_prompt_ends_in():
    function = function_of(mutate(PROMPTS["two parents"], 1))

    assert function.name == "priority_v2"
    assert ast.unparse(function.args) == "item: float, bins: np.ndarray"
    assert ast.get_docstring(function) == "Improved version."


def test_a_prompt_without_an_empty_header_asks_for_the_version_after_the_last():
    prompt = make_prompt(PACKING, BEST_FIT).rsplit("def ", 1)[0]

    assert function_of(mutate(prompt, 1)).name == "priority_v1"


def test_the_same_prompt_and_seed_give_the_same_answer_in_another_process():
    prompts = list(PROMPTS.values())
    answers = [answer(prompt, seed) for prompt in prompts for seed in range(10)]
    code = "import sys; from overnight.tasks.sample.builtin import mutate; prompts = eval(sys.stdin.read())\n"
    code += "sys.stdout.write(repr([mutate(prompt, seed) for prompt in prompts for seed in range(10)]))"

    other_process = subprocess.run(
        [sys.executable, "-c", code],
        input=repr(prompts),
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7"},
    )

    assert ast.literal_eval(other_process.stdout) == answers


def test_other_seeds_mostly_give_other_answers(prompt):
    answers = {answer(prompt, seed) for seed in range(30)}

    assert len(answers) >= 20


def test_no_answer_is_a_version_shown(prompt):
    parents = {dump(p.body) for p in parse_prompt(prompt).parents}

    assert not parents & {dump(body_of(answer(prompt, seed))) for seed in range(30)}


def test_an_answer_reads_only_names_that_have_a_value_there(prompt):
    parsed = parse_prompt(prompt)
    allowed = {name for p in parsed.parents for name in survey(p, parsed.env).undefined}

    for seed in range(30):
        assert survey(function_of(answer(prompt, seed)), parsed.env).undefined <= allowed


def test_a_constant_of_the_preface_is_in_scope_and_an_ancestor_is_not():
    answers = "\n".join(answer(PROMPTS["one parent"], seed) for seed in range(60))

    assert "MARGIN" in answers
    assert "priority_v0" not in answers


def test_parents_that_do_not_parse_leave_a_fresh_answer():
    prompt = make_prompt(PACKING, "return bins -", "for x in:")

    assert "bins" in "".join(mutate(prompt, seed) for seed in range(20))


def test_children_of_a_constant_read_their_arguments():
    answers = [answer(PROMPTS["constant"], seed) for seed in range(60)]

    assert sum("el" in source_of(body_of(a)) for a in answers) > 30
    assert any("for i, v in enumerate(el):" in a for a in answers)


def test_an_array_is_returned_where_an_array_is_asked_for():
    numpy = pytest.importorskip("numpy")
    bins = numpy.array([30.0, 80.0, 150.0])
    shapes = []
    for seed in range(50):
        names: dict[str, Any] = {"np": numpy, "MARGIN": 3}
        with numpy.errstate(all="ignore"):
            exec(answer(PROMPTS["two parents"], seed), names)
            shapes.append(numpy.shape(names["priority_v2"](30.0, bins)))

    assert shapes.count((3,)) >= 49


def test_few_answers_crash_on_a_sequence():
    crashed = 0
    for seed in range(60):
        names: dict[str, Any] = {}
        exec(mutate(make_prompt(CAPS, "return 0.0", LOOP, preface=""), seed), names)
        try:
            names["priority_v2"]((0, 1, 2, 2, 1, 0), 6)
        except (ArithmeticError, IndexError, TypeError, ValueError):
            crashed += 1

    assert crashed < 9


def test_a_prompt_that_shows_all_possible_answers_still_gets_a_new_one():
    prompt = make_prompt("def coin_v{}() -> bool:", "return True", "return False", preface="")

    assert source_of(body_of(mutate(prompt, 0))) not in ("return True", "return False")


@given(st.text(max_size=300), st.integers())
def test_any_text_is_answered_with_python(text, seed):
    assert function_of(mutate(text, seed))


@given(st.lists(st.sampled_from(sorted("".join(PROMPTS.values()).splitlines())), max_size=30), st.integers(0, 9))
def test_any_lines_of_prompts_are_answered_with_functions(lines, seed):
    answer = ast.parse(mutate("\n".join(lines), seed)).body
    assert answer
    assert all(isinstance(statement, ast.FunctionDef) for statement in answer)


@pytest.mark.parametrize(
    "text", ["", "\0", "\ud800", "def f(", "(" * 5000, "def f(x):\n  return " + "-" * 3000 + "x", "```\n```"]
)
def test_garbage_is_answered_with_python(text):
    assert function_of(mutate(text, 0))


@pytest.mark.parametrize(("header", "start"), [(PACKING, BEST_FIT), (CAPS, "return 0.0")], ids=["packing", "caps"])
def test_programs_stay_short_over_many_generations(header, start):
    older, newer = start, start
    for seed in range(60):
        child = body_of(mutate(make_prompt(header, older, newer), seed))
        assert size(child) <= 100
        older, newer = newer, source_of(child)


TABLE = """\
try:
    counts = {}
    with warnings.catch_warnings():
        for x in problem["items"]:
            counts[x] = counts.get(x, 0) + 1
    return {"counts": counts, "most": max(counts.values()) + 0.5}
except Exception as error:
    return {"counts": {}, "most": -1}"""


def test_what_returns_no_number_still_does_not():
    """Otherwise, a task whose programs return tables gets numbers alone, none of which is valid."""
    prompt = make_prompt("def solve_v{}(problem):", TABLE, preface="import warnings\n\n\n")
    for seed in range(40):
        returned = [node.value for node in ast.walk(ast.parse(mutate(prompt, seed))) if isinstance(node, ast.Return)]
        assert returned
        assert all(isinstance(value, ast.Dict) for value in returned)


WITH_TABLES = '''Improve `f`.

```python
import math


# Version 0 scores 3.
TABLE = [2, 3, 5]


def helper(x):
    return TABLE[x] * math.pi


def f_v0(x: int) -> float:
    return helper(x) + 1


# Version 1 scores 2.
import random
OTHER = random.Random(1).random()


def f_v1(x: int) -> float:
    return OTHER * x + 3
```

Write `f_v2`:

```python
def f_v2(x: int) -> float:
    """Improved version of `f_v1`."""
```
'''


def test_an_answer_has_the_helpers_and_tables_that_it_takes_from_any_version_shown():
    base = "import random\nOTHER = random.Random(1).random()"
    for seed in range(100):
        answer = mutate(WITH_TABLES, seed)
        given: dict[str, Any] = {}
        exec(f"import math\n{base}\n{answer}", given)
        if "helper(" in answer.partition("def f_v2")[2]:
            assert "TABLE = [2, 3, 5]" in answer
            assert given["helper"](1) == pytest.approx(9.42477796)
            break
    else:
        pytest.fail("no answer calls the helper")
