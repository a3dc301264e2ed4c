"""Search for programs while you sleep.

    import overnight

    run = overnight.evolve("spread.py", model="openai/gpt-5-mini", until="07:00", budget=2.0)
    print(run.best.score, run.best.code)

Versions follow semantic versioning for the names of this module; modules below it may change with any version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overnight.flows.api.evolve import SearchOptions as SearchOptions
    from overnight.flows.api.evolve import evaluate as evaluate
    from overnight.flows.api.evolve import evolve as evolve
    from overnight.flows.api.functions import specification as specification
    from overnight.flows.api.program import Program as Program
    from overnight.flows.api.run import Generation as Generation
    from overnight.flows.api.run import History as History
    from overnight.flows.api.run import NightOptions as NightOptions
    from overnight.flows.api.run import Run as Run
    from overnight.flows.api.run import load as load
    from overnight.flows.api.run import open_history as open  # noqa: A004  (it is called `overnight.open`)
    from overnight.schemas import errors as errors
    from overnight.schemas.outcome import Outcome as Outcome
    from overnight.schemas.outcome import Verdict as Verdict

_PLACES = {
    "Generation": "flows.api.run",
    "History": "flows.api.run",
    "NightOptions": "flows.api.run",
    "Outcome": "schemas.outcome",
    "Program": "flows.api.program",
    "Run": "flows.api.run",
    "SearchOptions": "flows.api.evolve",
    "Verdict": "schemas.outcome",
    "evaluate": "flows.api.evolve",
    "evolve": "flows.api.evolve",
    "load": "flows.api.run",
    "open": "flows.api.run:open_history",
    "specification": "flows.api.functions",
}
"""Module of each name, imported when it is first used, so that commands start at once."""

__all__ = [
    "Generation",
    "History",
    "NightOptions",
    "Outcome",
    "Program",
    "Run",
    "SearchOptions",
    "Verdict",
    "errors",
    "evaluate",
    "evolve",
    "load",
    "open",
    "specification",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("overnight.schemas.errors")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, own = _PLACES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), own or name)


def __dir__() -> list[str]:
    return sorted(__all__)
