"""Analyses a prompt once for all samples that are requested with it."""

from __future__ import annotations

import ast
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache

from tasks.sample.builtin.expression_types import Kind
from tasks.sample.builtin.mutation_sites import Survey, survey
from tasks.sample.builtin.prompt_parsing import ParsedPrompt, parse_prompt
from tasks.sample.builtin.trees import dump, size

_SMALLEST_PART, _LARGEST_PART = 3, 9


@dataclass(frozen=True, slots=True)
class PromptContext:
    """A prompt and its analysis. The trees are shared between samples: clone them before a change.

    Attributes:
        parsed: Functions and names of the prompt.
        reusable: Small expressions of the parents with their kinds, for reuse.
        parent_dumps: Dumps of the parents' bodies.
        surveys: Survey of each parent.
    """

    parsed: ParsedPrompt
    reusable: tuple[tuple[ast.expr, Kind], ...]
    parent_dumps: frozenset[Hashable]
    surveys: tuple[Survey, ...]


@lru_cache(maxsize=64)
def read_context(prompt: str) -> PromptContext:
    """Return the analysis of a prompt; cached, because several completions are requested for each prompt."""
    parsed = parse_prompt(prompt)
    surveys = tuple(survey(p, parsed.env) for p in parsed.parents)
    parts = [(site.tree, site.kind) for found in surveys for site in found.sites]
    return PromptContext(
        parsed=parsed,
        # Without its minus, a part is more likely to be of use.
        reusable=tuple(
            (tree, kind)
            for tree, kind in parts
            if _SMALLEST_PART <= size(tree) <= _LARGEST_PART and not isinstance(tree, ast.UnaryOp)
        ),
        parent_dumps=frozenset(dump(p.body) for p in parsed.parents),
        surveys=surveys,
    )
