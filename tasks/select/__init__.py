"""Search algorithms: which programs prompts show, which stay. Start reading at `schemas/algorithm.py`.

Each algorithm is the module of this package that has its name, with `_` for `-`; its `create` makes the algorithm from
its settings, the start program and the seed of the run.
"""

from __future__ import annotations

from importlib import import_module

from overnight.schemas.algorithm import Algorithm
from overnight.schemas.algorithm_settings import AnyAlgorithm
from overnight.schemas.program import Program


def create_algorithm(settings: AnyAlgorithm, start: Program, seed: int) -> Algorithm:
    """Make the algorithm that settings name, with nothing in it but the start program."""
    return import_module(f"overnight.tasks.select.{settings.name.replace('-', '_')}").create(settings, start, seed)
