"""The built-in model runs its answers to discard those that behave like a parent, and to shorten the others."""

import ast
import math
import textwrap
from typing import Any

import pytest

from tasks.sample.builtin import mutate
from tasks.sample.builtin.interpreter import UNKNOWN, Call
from tasks.sample.builtin.prompt_context import read_context
from tasks.sample.builtin.pruning import prune
from tasks.sample.builtin.simplify import simplify

PACKING = '''"""Item sizes are from 20 to 100, bins hold 150."""
import numpy as np

CAPACITY = 150


def priority_v0(item: float, bins: np.ndarray) -> np.ndarray:
    {}


def priority_v1(item: float, bins: np.ndarray) -> np.ndarray:
    """Improved."""
'''
CAPS = '''"""Vectors in {{0, 1, 2}}^n."""


def priority_v0(el: tuple[int, ...], n: int) -> float:
    {}


def priority_v1(el: tuple[int, ...], n: int) -> float:
    """Improved."""
'''


def make_prompt(form: str, body: str) -> str:
    return form.format(textwrap.indent(body, "    ").strip())


def body_of(source: str) -> list[ast.stmt]:
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def parse_body(body: str) -> list[ast.stmt]:
    return body_of("def f():\n" + textwrap.indent(body, "    "))


def run(body: str, **names: Any) -> Any:
    return Call(names).run(parse_body(body))


def pruned(form: str, body: str) -> str:
    context = read_context(make_prompt(form, "return 0.0"))
    function = ast.parse("def f():\n" + textwrap.indent(body, "    ")).body[0]
    assert isinstance(function, ast.FunctionDef)
    prune(function, context.parsed.env, context.scenarios)
    simplify(function, context.parsed.env)
    return "\n".join(map(ast.unparse, function.body))


def test_few_answers_behave_like_the_parent():
    numpy = pytest.importorskip("numpy")
    cases = [(float(item), numpy.arange(item, 151.0)) for item in range(20, 101, 8)]
    parent = "return np.where(bins - item > 30, bins, item - bins) * 3"

    def order(source: str, name: str) -> list[Any]:
        names: dict[str, Any] = {"np": numpy, "CAPACITY": 150}
        with numpy.errstate(all="ignore"):
            exec(source, names)
            return [numpy.unique(names[name](*case) + 0 * case[1], return_inverse=True)[1].tolist() for case in cases]

    before = order(f"def priority_v0(item, bins):\n    {parent}", "priority_v0")
    same = 0
    for seed in range(100):
        try:
            same += order(mutate(make_prompt(PACKING, parent), seed), "priority_v1") == before
        except (ArithmeticError, ValueError):
            continue

    assert same < 20


def test_the_interpreter_agrees_with_numpy():
    numpy = pytest.importorskip("numpy")
    parent = "gap = bins - item\nif item > 60:\n    gap = gap * 2\nreturn np.where(gap < 3, 100 - gap, gap % 7 / item)"
    prompt = make_prompt(PACKING, parent)
    context = read_context(prompt)
    agreed = 0
    for seed in range(75):
        answer = mutate(prompt, seed)
        for scenario in context.scenarios[:3]:
            try:
                found = Call(dict(scenario)).run(body_of(answer))
            except UNKNOWN:
                continue
            names: dict[str, Any] = {"np": numpy, "CAPACITY": 150}
            with numpy.errstate(all="ignore"):
                exec(answer, names)
                wanted = names["priority_v1"](scenario["item"], numpy.array(scenario["bins"]))
            assert numpy.allclose(found, wanted, equal_nan=True), answer
            agreed += 1

    assert agreed > 200


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return sum(v * v for v in el if v)", 10),
        ("total = 0\nfor i, v in enumerate(el):\n    if v == 2:\n        total += i\nreturn total", 3),
        ("return max(el) if len(el) > 3 and el[0] else min(el[1:])", 2),
        ("return sum(a * b for a, b in zip(el, el[1:])) + el.count(2) - abs(-el[-1]) + sorted(el)[0]", 10),
        ("return [v + 1 for v in el][1] // 2 % 5", 1),
        ("return not el[0] == 1", False),
    ],
)
def test_the_interpreter_runs_loops_and_sequences(body, wanted):
    assert run(body, el=(1, 2, 2, 1)) == wanted


@pytest.mark.parametrize(
    "body",
    [
        "while True:\n    x = 1\nreturn x",
        "return sum(range(10 ** 4))",
        "return sum(range(2000000000))",
        "total = 0\nfor a in range(900):\n    for b in range(900):\n        total += b\nreturn total",
        "return __import__('os').getpid()",
        "return (1).__class__",
        "return el * 1000000000",
        "return (9 ** 9) ** (9 ** 9)",
        "return open(0)",
        "return f(el)",
        "x = lambda: 1\nreturn x()",
        "return unknown",
        "el[0] = 1\nreturn el[0]",
        "x = 1",
    ],
)
def test_the_interpreter_gives_up_on_unsupported_code_and_on_code_that_takes_long(body):
    with pytest.raises(UNKNOWN):
        run(body, el=(1, 2))


def test_integers_do_not_grow_without_limit():
    value = run("x = 3\nfor i in range(250):\n    x = x * x\n    x = min(x, 1e9)\nreturn x")

    assert math.isfinite(value)


@pytest.mark.parametrize(
    ("form", "body", "wanted"),
    [
        (PACKING, "return np.where(bins > CAPACITY, 7 * bins, item - bins)", "return item - bins"),
        (PACKING, "return bins * (item - (item - 1))", "return bins"),
        (PACKING, "return np.where(bins - item < CAPACITY * 2, bins, item)", "return bins"),
        (PACKING, "return np.where(bins == item, 1, -bins)", "return np.where(bins == item, 1, -bins)"),
        (CAPS, "return el[0] if el[0] < 3 else el[1] * n", "return el[0]"),
        (CAPS, "return el[0] - el[0] + n * el[1]", "return n * el[1]"),
        (CAPS, "return n * el[1] + el[0]", "return n * el[1] + el[0]"),
    ],
)
def test_code_without_effect_is_pruned(form, body, wanted):
    assert pruned(form, body) == wanted
