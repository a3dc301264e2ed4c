"""Shortens programs by trial: an expression that always has the value of one of its parts is replaced by the part.

Mutation accumulates conditions that never hold and terms that cancel. Rules of algebra do not find them all. Runs on
made-up arguments do, but may miss a rare case. This is acceptable, because every child is evaluated anyway.
"""

from __future__ import annotations

import ast
from typing import Any

from tasks.sample.builtin.behaviour import Scenarios, record_values
from tasks.sample.builtin.expression_types import ARRAY, BOOL, FLOAT, Env, can_stand_for
from tasks.sample.builtin.mutation_sites import Site, survey
from tasks.sample.builtin.trees import nodes, number, size, value_of

_Seen = dict[int, list[Any]]

_MAX_CONSTANT = 1e6


def prune(function: ast.FunctionDef, env: Env, scenarios: Scenarios) -> bool:
    """Shorten a function in place by its values on made-up arguments, and return whether it changed."""
    seen = record_values(function.body, scenarios)
    if seen is None:
        return False
    sites = [s for s in survey(function, env).sites if id(s.tree) in seen]
    removed: set[int] = set()
    for site in sites:
        tree = site.tree
        if id(tree) in removed or isinstance(tree, ast.Name | ast.Constant):
            continue
        inside = set(map(id, nodes(tree)))
        shorter = _constant(site, seen[id(tree)]) or _part(site, sites, inside, seen)
        if shorter is not None:
            site.put(shorter)
            removed |= inside
    return bool(removed)


def _constant(site: Site, values: list[Any]) -> ast.expr | None:
    """Return the constant that an expression always evaluates to; `None` if its values differ."""
    if site.kind == ARRAY and site.is_loose:
        values = [v for array in values for v in array]
    elif site.kind not in (FLOAT, BOOL) or value_of(site.tree) is not None:
        return None
    first = values[0]
    if not isinstance(first, int | float) or abs(first) > _MAX_CONSTANT or any(v != first for v in values):
        return None
    return ast.Constant(bool(first)) if site.kind == BOOL else number(first)


def _part(site: Site, sites: list[Site], inside: set[int], seen: _Seen) -> ast.expr | None:
    """Return the shortest part of an expression that always has the same value; `None` if there is none."""
    tree, values = site.tree, seen[id(site.tree)]
    parts = [
        s.tree
        for s in sites
        if id(s.tree) in inside
        and s.tree is not tree
        and can_stand_for(s.kind, site.kind)
        and s.env.keys() <= site.env.keys()
        and seen[id(s.tree)] == values
    ]
    return min(parts, key=size, default=None)
