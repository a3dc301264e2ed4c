"""The reference: a program evaluated with `exec` in a bare process, without any isolation."""

from __future__ import annotations

import sys
import types


def evaluate(source: str) -> float:
    """The score on the one input of `tests/specifications/fifty.py`."""
    module = types.ModuleType("funsearch")
    module.run = module.evolve = lambda function: function  # type: ignore[attr-defined]
    sys.modules["funsearch"] = module
    namespace: dict = {}
    exec(compile(source, "candidate", "exec"), namespace)
    return namespace["evaluate"](200, 1)
