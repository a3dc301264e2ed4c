"""The worked examples of CONTRIBUTING.md do what it says: their code passes the contract of its seam."""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import schemas.algorithm_settings
from schemas.algorithm import Algorithm
from schemas.skeleton import Skeleton
from tests.contract import test_algorithm as contract
from tests.contract import test_skeleton as skeleton_contract

CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
CHECKS = [check for name, check in inspect.getmembers(contract, inspect.isfunction) if name.startswith("test_")]


_OF_SHIPPED_KINDS = (
    skeleton_contract.test_there_is_an_example_of_every_kind,
    skeleton_contract.test_it_is_restored_from_its_text_and_the_settings_of_the_run,
    skeleton_contract.test_the_built_in_model_answers_the_prompt_with_new_programs,
)
SKELETON_CHECKS = [
    check
    for name, check in inspect.getmembers(skeleton_contract, inspect.isfunction)
    if name.startswith("test_") and "kind" in inspect.signature(check).parameters and check not in _OF_SHIPPED_KINDS
]


def example(name: str) -> str:
    """Return the fenced Python code with a name after the language."""
    (code,) = re.findall(rf"^```python {name}\n(.*?)^```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    return code


@pytest.fixture
def greedy(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The example's algorithm as a module, with its settings."""
    module = types.ModuleType("tasks.select.greedy")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.__dict__.update(vars(schemas.algorithm_settings), __name__=module.__name__)
    exec(example("settings"), module.__dict__)
    exec(example("greedy"), module.__dict__)
    module.GreedySettings.model_rebuild(_types_namespace=vars(module))
    return module


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_example_of_an_algorithm_passes_the_contract(check: Any, greedy: types.ModuleType):
    def make(seed: int = 0, **settings: Any) -> Algorithm:
        return greedy.create(greedy.GreedySettings(**settings), contract.START, seed)

    seeds = [{"seed": seed} for seed in range(5)] if "seed" in inspect.signature(check).parameters else [{}]
    for arguments in seeds:
        check(make, **arguments)


class NumbersKind(skeleton_contract.Kind):
    """The example's kind of skeleton."""

    @property
    def skeleton(self) -> Skeleton:
        return sys.modules["schemas.numbers"].Numbers("numbers.json", '{\n"x": 1,\n"y": 2.5\n}\n')


def numbers(_: Skeleton, texts: list[str]) -> str:
    """Return a body whose numbers follow from the letters of the texts, and whose layout from their blanks."""
    x, y = (sum(map(ord, "".join(text.split()))) for text in texts)
    return json.dumps({"x": x, "y": y}, indent=texts[0].count(" "))


@pytest.fixture
def numbers_kind(monkeypatch: pytest.MonkeyPatch) -> NumbersKind:
    """The example's kind of skeleton, with its module and its codec in place."""
    for name, part in (("schemas.numbers", "skeleton"), ("tasks.sample.codecs.numbers", "codec")):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(example(part), module.__dict__)
    texts = st.lists(st.text("abc 123", min_size=1), min_size=1).map("\n".join)
    return NumbersKind("", numbers, texts, skeleton_contract.answer_with_the_blocks)


@pytest.mark.parametrize("check", SKELETON_CHECKS, ids=lambda check: check.__name__)
def test_the_example_of_a_kind_of_skeleton_passes_the_contract(check: Any, numbers_kind: NumbersKind):
    check(kind=numbers_kind)
