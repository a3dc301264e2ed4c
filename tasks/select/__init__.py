"""Search algorithms: which programs prompts show, which stay. Start reading at `schemas/algorithm.py`.

Each algorithm is the module of this package that has its name, with `_` for `-`, or a plug-in of the kind `algorithms`;
its `create` makes the algorithm from its settings, the start program and the seed of the run.
"""

from __future__ import annotations

from importlib import import_module

from overnight.schemas.algorithm import Algorithm
from overnight.schemas.algorithm_settings import AnyAlgorithm, UnloadedSettings, plugin_of
from overnight.schemas.errors import UntrustedSettings
from overnight.schemas.program import Program


def create_algorithm(settings: AnyAlgorithm, start: Program, seed: int) -> Algorithm:
    """Make the algorithm that settings name, with nothing in it but the start program.

    Raises:
        UntrustedSettings: If it is of a plug-in that was not loaded, because nobody was asked whether to trust it.
    """
    if isinstance(settings, UnloadedSettings):
        raise UntrustedSettings(
            f"the algorithm {settings.name} is of a plug-in that is not accepted",
            remedy=f"Name it yourself: --set search.algorithm={settings.name}",
        )
    if plugin := plugin_of(settings):
        return plugin.load("create")(settings, start, seed)
    return import_module(f"overnight.tasks.select.{settings.name.replace('-', '_')}").create(settings, start, seed)
