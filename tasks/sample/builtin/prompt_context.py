"""What a prompt shows, read once for all its samples."""

from __future__ import annotations

import ast
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tasks.sample.builtin.behaviour import CRASH, Behaviour, Scenarios, behaviour, made_up
from tasks.sample.builtin.expression_types import Kind
from tasks.sample.builtin.mutation_sites import Survey, survey
from tasks.sample.builtin.prompt_parsing import Scene, argument_names, read_prompt
from tasks.sample.builtin.trees import dump, size

_UNLIKELY = 0.15
_SMALLEST_BLOCK, _LARGEST_BLOCK = 3, 9


@dataclass(frozen=True, slots=True)
class PromptContext:
    """A prompt and what was found out about it. Its trees are shared: clone them before a change.

    Attributes:
        scene: What it asks for.
        blocks: Small expressions of the parents with their kinds, to build with.
        known: The bodies of the parents.
        surveys: Of each parent.
        scenarios: Arguments to try functions on.
        behaviours: Of the parents for which they can be told.
    """

    scene: Scene
    blocks: tuple[tuple[ast.expr, Kind], ...]
    known: frozenset[Hashable]
    surveys: tuple[Survey, ...]
    scenarios: Scenarios
    behaviours: tuple[Behaviour, ...]

    def is_news(self, body: list[ast.stmt], random: Random) -> bool:
        """Whether a body is none of the parents' and, as far as can be told, answers otherwise than they do.

        One that only orders its answers as a parent does gets through at times, as more may depend on them; so does
        one that fails, as what it fails for may never come.
        """
        if dump(body) in self.known:
            return False
        found = behaviour(body, self.scenarios) if self.behaviours else None
        if found is None:
            return True
        if found != CRASH and any(found.values == b.values for b in self.behaviours):
            return False
        is_news = found != CRASH and all(found.order != b.order for b in self.behaviours)
        return is_news or random.random() < _UNLIKELY


@lru_cache(maxsize=64)
def read_context(prompt: str) -> PromptContext:
    """Read a prompt, or remember it: every prompt is sampled several times."""
    scene = read_prompt(prompt)
    surveys = tuple(survey(p, scene.env) for p in scene.parents)
    sites = [s for found in surveys for s in found.sites]
    scenarios = made_up(scene.env, argument_names(scene.header), scene.constants, scene.largest)
    behaviours = (behaviour(p.body, scenarios) for p in scene.parents)
    return PromptContext(
        scene=scene,
        blocks=tuple((s.tree, s.kind) for s in sites if _SMALLEST_BLOCK <= size(s.tree) <= _LARGEST_BLOCK),
        known=frozenset(dump(p.body) for p in scene.parents),
        surveys=surveys,
        scenarios=scenarios,
        behaviours=tuple(b for b in behaviours if b is not None),
    )
