"""Analyses a prompt once for all samples that are requested with it."""

from __future__ import annotations

import ast
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from tasks.sample.builtin.behaviour import CRASH, Behaviour, Scenarios, behaviour, make_scenarios
from tasks.sample.builtin.expression_types import Kind
from tasks.sample.builtin.mutation_sites import Survey, survey
from tasks.sample.builtin.prompt_parsing import ParsedPrompt, argument_names, parse_prompt
from tasks.sample.builtin.trees import dump, size

_P_ACCEPT_SAME_ORDER = 0.15
"""Probability that a child is accepted although it fails, or orders its results as a parent does."""
_SMALLEST_BLOCK, _LARGEST_BLOCK = 3, 9


@dataclass(frozen=True, slots=True)
class PromptContext:
    """A prompt and its analysis. The trees are shared between samples: clone them before a change.

    Attributes:
        parsed: Functions and names of the prompt.
        reusable: Small expressions of the parents with their kinds, for reuse.
        parent_dumps: Dumps of the parents' bodies.
        surveys: Survey of each parent.
        scenarios: Made-up arguments to run functions on.
        behaviours: Behaviours of the parents that the interpreter can run.
    """

    parsed: ParsedPrompt
    reusable: tuple[tuple[ast.expr, Kind], ...]
    parent_dumps: frozenset[Hashable]
    surveys: tuple[Survey, ...]
    scenarios: Scenarios
    behaviours: tuple[Behaviour, ...]

    def is_new(self, body: list[ast.stmt], random: Random) -> bool:
        """Return whether a body differs from those of the parents and, as far as can be determined, in behaviour.

        A body that orders its results as a parent does is sometimes accepted, because more than the order may matter.
        So is a body that fails, because the real arguments may never make it fail.
        """
        if dump(body) in self.parent_dumps:
            return False
        own = behaviour(body, self.scenarios) if self.behaviours else None
        if own is None:
            return True
        if own != CRASH and any(own.values == parent.values for parent in self.behaviours):
            return False
        has_new_order = own != CRASH and all(own.order != parent.order for parent in self.behaviours)
        return has_new_order or random.random() < _P_ACCEPT_SAME_ORDER


@lru_cache(maxsize=64)
def read_context(prompt: str) -> PromptContext:
    """Return the analysis of a prompt; cached, because several completions are requested for each prompt."""
    parsed = parse_prompt(prompt)
    surveys = tuple(survey(p, parsed.env) for p in parsed.parents)
    sites = [site for found in surveys for site in found.sites]
    scenarios = make_scenarios(parsed.env, argument_names(parsed.header), parsed.constants, parsed.largest)
    behaviours = (behaviour(p.body, scenarios) for p in parsed.parents)
    return PromptContext(
        parsed=parsed,
        reusable=tuple(
            (site.tree, site.kind) for site in sites if _SMALLEST_BLOCK <= size(site.tree) <= _LARGEST_BLOCK
        ),
        parent_dumps=frozenset(dump(p.body) for p in parsed.parents),
        surveys=surveys,
        scenarios=scenarios,
        behaviours=tuple(b for b in behaviours if b is not None),
    )
