"""What the built-in model proposes, and that tidying it up changes no meaning."""

import ast
import re
import textwrap
from random import Random

import pytest

from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.builtin.expression_types import ARRAY, FLOAT, INDEX, INT, MATH, NUMPY, record, sequence
from overnight.tasks.sample.builtin.forms import CHANGED, ELEMENTS, GROWN, STATEMENTS
from overnight.tasks.sample.builtin.growth import Grower
from overnight.tasks.sample.builtin.mutation_sites import infer
from overnight.tasks.sample.builtin.simplify import simplify
from tests.sample.test_builtin import BEST_FIT, CAPS, PACKING, body_of, make_prompt, source_of

TABLES = {**{f"grown {k.base.name}": t for k, t in GROWN.items()}, "elements": ELEMENTS}
JOB = record({"due": FLOAT, "steps": sequence(FLOAT)}, has_keys=True)
ENV = {"a": ARRAY, "b": ARRAY, "x": FLOAT, "n": INT, "el": sequence(INT), "np": NUMPY}


def tidied(body: str) -> str:
    (function,) = ast.parse("def f(a, b, item, el):\n" + textwrap.indent(body, "    ")).body
    assert isinstance(function, ast.FunctionDef)
    simplify(function)
    return source_of(function.body)


def test_a_penalty_on_an_interval_of_what_the_parent_computes_is_among_the_answers():
    prompt = make_prompt(PACKING, BEST_FIT)
    answers = [source_of(body_of(mutate(prompt, seed))) for seed in range(300)]

    named = [a for a in answers if re.search(r"(\w) = bins - item\n(.*\n)*.*\(\1 > [\d.]+\) & \(\1 < [\d.]+\)", a)]
    assert len(named) >= 5


def test_an_interval_of_a_number_is_among_the_answers():
    prompt = make_prompt(CAPS, "return el[0] * 2.0", preface="")
    answers = [source_of(body_of(mutate(prompt, seed))) for seed in range(200)]

    assert sum(bool(re.search(r"\d < .+ < \d", a)) for a in answers) >= 3


@pytest.mark.parametrize("kind", GROWN, ids=lambda kind: kind.base.name)
def test_what_is_grown_has_the_wanted_kind(kind):
    for seed in range(60):
        made = infer(Grower(Random(seed), (3.0, 50.0), ()).grow(kind, ENV, 2), ENV)
        assert made == kind or {made, kind} <= {FLOAT, INT}


@pytest.mark.parametrize("table", [*TABLES.values(), *CHANGED.values(), STATEMENTS])
def test_all_forms_of_a_table_can_be_drawn(table):
    grower, env = Grower(Random(0), (), (), ENV), ENV | {"math": MATH, "k": INDEX, "jobs": sequence(JOB)}
    drawn = {id(grower.draw(table, env, ("MINE", "RESULT"))) for _ in range(3000)}
    assert drawn == set(map(id, table))


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("return a + 0 - 0 * 2", "return a"),
        ("return 1 * a / 1 + -3", "return a - 3"),
        ("return 0 - a - -b", "return b - a"),
        ("return -(-a) + 2 * 3", "return a + 6"),
        ("return -a + b", "return b - a"),
        ("return 1 / 0 + 2 % 0", "return 1 / 0 + 2 % 0"),
        ("x = a * 2\nreturn b", "return b"),
        ("x = el.pop()\nreturn b", "x = el.pop()\nreturn b"),
        ("x = print(a)\nreturn b", "x = print(a)\nreturn b"),
        ("pass\nif True:\n    return a\nreturn b", "return a"),
        ("if item:\n    pass\nreturn a if False else b", "return b"),
        ("return a if item else a", "return a"),
        ("for v in el:\n    x = v\nreturn a", "return a"),
        ("return (a - b) * ((a - b > 3) & (a - b < 9))", "x = a - b\nreturn x * ((x > 3) & (x < 9))"),
        ("x = a - b\ny = a - b\nz = x\nreturn z + (a - b) * y", "x = a - b\nreturn x + x * x"),
        ("x = a - b\na = x\nreturn a - b", "x = a - b\na = x\nreturn a - b"),
        ("x = a - b\nx = x + 1\nreturn (a - b) * x", "x = a - b\nx = x + 1\nreturn (a - b) * x"),
        ("x = a - 1\nreturn [a - 1 for a in el] + [x]", "x = a - 1\nreturn [a - 1 for a in el] + [x]"),
        ("return (a / b) * (a / b)", "return a / b * (a / b)"),
        ("return sum((v + 1) * (v + 1) for v in el)", "return sum(((v + 1) * (v + 1) for v in el))"),
    ],
)
def test_programs_are_tidied_up_without_a_change_of_meaning(body, wanted):
    assert tidied(body) == wanted
