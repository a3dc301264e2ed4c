"""Functions of a module or of a cell become a specification, or an error says why they cannot."""

from __future__ import annotations

import ast
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import overnight
from overnight.schemas.errors import SpecificationError
from overnight.tasks.problems.loading.load import load_problem

MODULE = '''
from __future__ import annotations

import functools
import math
import os.path as paths
import urllib.parse
from collections import Counter
from dataclasses import dataclass
from urllib import parse

import funsearch
import numpy as np
from numpy.linalg import norm

SIDES = (3, 4)
FACTORS = {"a": 1.5}


@dataclass(frozen=True)
class Corner:
    """A corner."""

    x: float


@functools.cache
def area(sides: tuple[int, ...]) -> float:
    """Area of a rectangle."""
    return math.prod(sides) * FACTORS["a"]


@funsearch.evolve
def place(n: int) -> float:
    """Return a number near to the area."""
    return Corner(1.0).x * n


@funsearch.run
def score(n: int) -> float:
    """Minus the distance from the area.

    A second paragraph, with a "quote".
    """
    return -abs(place(n) - area(SIDES)) * norm(np.array([1.0])) + Counter("a")["b"] + len(paths.join("", ""))


def two(first: float, second: float) -> float:
    return place(first) + second


def other() -> float:
    return 0.0


rng = np.random.default_rng(1)


def random_score(n: int) -> float:
    return place(n) + rng.random()


def closure():
    inner = 2.0

    def scored(n: int) -> float:
        return place(n) + inner

    return scored


class Scorer:
    def method(self, n: int) -> float:
        return place(n)


made = closure()
renamed = other
worst = Counter({"a": 1})


def made_score(n: int) -> float:
    return made(n) + place(n)


def worst_score(n: int) -> float:
    return worst["a"] + place(n)


def renamed_score(n: int) -> float:
    rng = float(parse.quote("a b") == urllib.parse.unquote("a%20b"))
    return place(n) + renamed() + rng


if True:
    def indented_score(n: int) -> float:
        text = """a
        b"""
        return place(n) + len(text)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A user's own module, which the sandbox does not have."""
    (tmp_path / "users_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_module", raising=False)
    import users_module  # pyright: ignore[reportMissingImports]

    return users_module


def run_text(text: str) -> dict[str, Any]:
    """Run a specification as Python would."""
    names: dict[str, Any] = {"__name__": "users_module"}
    exec(compile(text, "specification", "exec"), names)
    return names


def test_what_functions_use_of_their_module_goes_with_them(module: types.ModuleType):
    text = overnight.specification(start=module.place, score=module.score, inputs=[7, 10], held_out=[9])
    assert run_text(text)["score"](10) == module.score(10)
    names = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert names == {"Corner", "area", "place", "score"}, "and nothing else"
    assert text.count("@funsearch.run") == text.count("@funsearch.evolve") == 1


def test_other_names_of_functions_inner_modules_and_local_names_are_taken_as_they_are(module: types.ModuleType):
    text = overnight.specification(start=module.place, score=module.renamed_score, inputs=[7])
    assert run_text(text)["renamed_score"](10) == module.renamed_score(10)


def test_the_text_is_a_specification_that_loads_with_its_inputs(module: types.ModuleType, tmp_path: Path):
    inputs = [[1, 2.5], {"kwargs": {"first": 1.5, "second": 2}}]
    text = overnight.specification(start=module.place, score=module.two, inputs=iter(inputs), validation=iter([(3, 4)]))
    (tmp_path / "kept.py").write_text(text)
    problem = load_problem(tmp_path / "kept.py")
    assert [(call.args, call.kwargs) for call in problem.inputs["train"]] == [
        ((1, 2.5), {}),
        ((), {"first": 1.5, "second": 2}),
    ]
    assert [call.args for call in problem.inputs["validation"]] == [(3, 4)]
    assert problem.dependencies.packages == ()


def test_packages_are_named_as_they_are_installed_under(module: types.ModuleType):
    text = overnight.specification(start=module.place, score=module.score, inputs=[7])
    assert '# dependencies = ["numpy"]' in text


def test_the_docstring_of_the_scoring_is_the_statement_and_its_first_line_the_title(module: types.ModuleType):
    text = overnight.specification(start=module.place, score=module.score, inputs=[7])
    assert ast.get_docstring(ast.parse(text)) == (module.score.__doc__ or "").replace("\n    ", "\n").strip()
    assert '# title = "Minus the distance from the area"' in text
    assert '# title = "Areas"' in overnight.specification(
        start=module.place, score=module.score, inputs=[7], title="Areas"
    )


def test_cells_of_a_notebook_are_a_module(monkeypatch: pytest.MonkeyPatch):
    cells = ["HALF = 0.5\n", "def guess(n):\n    return n * HALF\n", "def judge(n):\n    return -guess(n)\n"]
    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    for number, cell in enumerate(cells):  # as IPython keeps the source of cells
        name = f"<cell {number}>"
        linecache.cache[name] = len(cell), None, cell.splitlines(keepends=True), name
        exec(compile(cell, name, "exec"), vars(notebook))
    text = overnight.specification(start=vars(notebook)["guess"], score=vars(notebook)["judge"], inputs=[4])
    assert run_text(text)["judge"](4) == -2.0


@pytest.mark.parametrize(
    ("choose", "inputs", "message"),
    [
        (lambda _: lambda n: n, [1], "a lambda has no name"),
        (lambda module: module.closure(), [1], "is a closure over inner"),
        (lambda module: module.Scorer().method, [1], "expected a function, got method"),
        (lambda module: module.Scorer.method, [1], "`Scorer.method` is a method"),
        (lambda _: len, [1], "expected a function, got builtin_function_or_method"),
        (lambda module: module.other, [1], "`other` does not call `place`"),
        (lambda module: module.random_score, [1], "uses `rng`, a Generator whose value has no source form"),
        (lambda module: module.made_score, [1], "`made_score` uses `made`: `scored` is a closure over inner"),
        (lambda module: module.worst_score, [1], "uses `worst`, a Counter whose value has no source form"),
        (lambda module: module.indented_score, [1], "is indented, and a text in it would lose its indentation"),
        (lambda module: module.score, [], "there are no inputs"),
        (lambda module: module.score, [{1: 7}], "expected text as keys, got 1"),
        (lambda module: module.score, 5, "expected a list of inputs, got 5"),
        (lambda module: module.score, [{1, 2}], "is not JSON serializable"),
        (lambda module: module.score, [float("nan")], "not JSON compliant"),
        (lambda module: module.two, [3], "an input is 3, but `two` takes 2 arguments"),
        (lambda module: module.score, [None], "None, which a specification cannot hold"),
    ],
)
def test_what_is_no_specification_is_refused(
    module: types.ModuleType, choose: Callable[[Any], Any], inputs: Any, message: str
):
    with pytest.raises(SpecificationError) as error:
        overnight.specification(start=module.place, score=choose(module), inputs=inputs)
    assert message in error.value.message
    assert error.value.remedy


def test_a_function_without_source_is_refused(module: types.ModuleType):
    exec("def unseen(n):\n    return place(n)\n", vars(module))
    with pytest.raises(SpecificationError, match="`unseen` has no source"):
        overnight.specification(start=module.place, score=module.unseen, inputs=[1])


def test_a_module_of_the_user_is_refused_whole_and_taken_by_its_names(
    module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "second.py").write_text(
        "import users_module\nfrom users_module import area, place\n\n\n"
        "def whole(n):\n    return place(n) + users_module.area((n,))\n\n\n"
        "def named(n):\n    return place(n) + area((n,))\n"
    )
    monkeypatch.delitem(sys.modules, "second", raising=False)
    import second  # pyright: ignore[reportMissingImports]

    with pytest.raises(SpecificationError, match="`users_module`, a module of your own"):
        overnight.specification(start=module.place, score=second.whole, inputs=[1])
    text = overnight.specification(start=module.place, score=second.named, inputs=[1])
    assert run_text(text)["named"](2) == second.named(2)


def test_two_things_of_one_name_are_refused(module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "from users_module import place, score\nSIDES = 1\n\n\ndef named(n):\n    return place(SIDES) + score(n)\n"
    (tmp_path / "third.py").write_text(text)
    monkeypatch.delitem(sys.modules, "third", raising=False)
    import third  # pyright: ignore[reportMissingImports]

    with pytest.raises(SpecificationError, match="`SIDES` is one thing for `score` and another elsewhere"):
        overnight.specification(start=module.place, score=third.named, inputs=[1])
