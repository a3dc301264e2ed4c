"""The worked examples of CONTRIBUTING.md do what it says: their code passes the contract of its seam."""

from __future__ import annotations

import inspect
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import schemas.algorithm_settings
from schemas.algorithm import Algorithm
from tests.contract import test_algorithm as contract

CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
CHECKS = [check for name, check in inspect.getmembers(contract, inspect.isfunction) if name.startswith("test_")]


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
