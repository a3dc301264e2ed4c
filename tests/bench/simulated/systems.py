"""The systems that can be compared: algorithms of the product, controls, and other systems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from overnight.schemas.algorithm_settings import algorithm_kinds
from tests.bench.simulated.comparison import Key
from tests.bench.simulated.controls import CONTROLS
from tests.bench.simulated.fitted import WEAK, draw_persona
from tests.bench.simulated.loop import SearchLoop
from tests.bench.simulated.model import SimulatedModel
from tests.bench.simulated.peers import PEERS, run_peer
from tests.bench.simulated.problems import problem_named
from tests.bench.simulated.trace import Trace, load_trace

REFERENCE = "plain"
"""What all others are compared with by default."""

ALGORITHMS = tuple(kind.algorithm_name() for kind in algorithm_kinds())
SYSTEMS = (*ALGORITHMS, *CONTROLS, *PEERS)
"""Names of all systems."""


@dataclass(frozen=True)
class Setup:
    """What all searches of a comparison have in common.

    Attributes:
        answers: Answers of each search.
        problem_seed: Seed that the problems are drawn from.
        settings: Settings of the product, as in a task's own file.
        pythons: For each of the other systems, a Python that has it.
        limit_s: Seconds after which a search of another system is ended.
        folder: Where searches of other systems are kept, and taken from if they are there; `None` to keep none.
        models: Class of models that personas are drawn from.
    """

    answers: int
    problem_seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    pythons: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = 900.0
    folder: Path | None = None
    models: str = WEAK


def search(system: str, key: Key, setup: Setup) -> Trace:
    """Let a system search, unless it is another one's search that was kept."""
    if system not in PEERS:
        return _search(system, key, setup)
    parts = (key[0], setup.problem_seed, *key[1:], setup.answers, *([] if setup.models == WEAK else [setup.models]))
    path = None if setup.folder is None else setup.folder / system / f"{'-'.join(map(str, parts))}.npz"
    if path is not None and path.exists():
        return load_trace(path)
    problem, model = (
        problem_named(key[0], setup.problem_seed),
        SimulatedModel(draw_persona(setup.models, key[1]), key[2]),
    )
    trace = run_peer(system, setup.pythons[system], problem, model, key[2], setup.answers, setup.limit_s)
    if path is not None:
        trace.save(path)
    return trace


def kind_of(system: str) -> str:
    """Return the name of a system without its settings: `tree` of `tree+sampling.concurrency=1`."""
    return system.partition("+")[0]


def settings_of(words: Iterable[str]) -> dict[str, Any]:
    """Return nested settings from words such as `sampling.concurrency=1`."""
    settings: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        *sections, last = name.split(".")
        nested: dict[str, Any] = {last: value}
        for section in reversed(sections):
            nested = {section: nested}
        settings = merged(settings, nested)
    return settings


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings where those of the second take precedence."""
    both = {name: merged(first[name], second[name]) for name in second if isinstance(first.get(name), Mapping)}
    return {**first, **second, **both}


def _search(system: str, key: Key, setup: Setup) -> Trace:
    name, persona, seed = key
    problem, who = problem_named(name, setup.problem_seed), draw_persona(setup.models, persona)
    kind, *more = system.split("+")
    if kind in CONTROLS:
        control = CONTROLS[kind]
        settings = merged({"search": {"algorithm": {"name": "greedy"}}}, merged(control.settings, settings_of(more)))
        return SearchLoop(problem, control.model(who, seed), seed, settings, control.create).run(setup.answers)
    settings = merged(_defaults(kind, setup), merged(setup.settings, settings_of(more)))
    return SearchLoop(problem, SimulatedModel(who, seed), seed, settings).run(setup.answers)


def _defaults(kind: str, setup: Setup) -> dict[str, Any]:
    """Return the settings of an algorithm that follow from the number of answers, as in `overnight run`."""
    algorithm = {"name": kind, **_budget(kind, setup)}
    return {"search": {"algorithm": algorithm}}


def _budget(kind: str, setup: Setup) -> dict[str, int]:
    """Return the budget for an algorithm that has one: that of the comparison."""
    has_one = any(one.algorithm_name() == kind and "budget" in one.model_fields for one in algorithm_kinds())
    return {"budget": setup.answers} if has_one else {}
