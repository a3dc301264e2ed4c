"""Shorter programs by trial: an expression that always comes to the same as a part of it is replaced by the part.

Mutation piles up conditions that never hold and terms that cancel. No rule of algebra finds them all; made-up arguments
do, at the price of a rare case that they miss. A child is a guess anyway, and its own evaluation judges it.
"""

from __future__ import annotations

import ast
from typing import Any

from tasks.sample.builtin.behaviour import Scenarios, record
from tasks.sample.builtin.expression_types import ARRAY, BOOL, FLOAT, Env, can_stand_for
from tasks.sample.builtin.mutation_sites import Site, survey
from tasks.sample.builtin.trees import nodes, number, size, value_of

_Seen = dict[int, list[Any]]

_LARGEST = 1e6


def prune(function: ast.FunctionDef, env: Env, scenarios: Scenarios) -> bool:
    """Shorten a function in place by what happens on made-up arguments; says whether it did."""
    seen = record(function.body, scenarios)
    if seen is None:
        return False
    sites = [s for s in survey(function, env).sites if id(s.tree) in seen]
    gone: set[int] = set()
    for site in sites:
        tree = site.tree
        if id(tree) in gone or isinstance(tree, ast.Name | ast.Constant):
            continue
        inside = set(map(id, nodes(tree)))
        shorter = _constant(site, seen[id(tree)]) or _part(site, sites, inside, seen)
        if shorter is not None:
            site.put(shorter)
            gone |= inside
    return bool(gone)


def _constant(site: Site, values: list[Any]) -> ast.expr | None:
    """The one number or truth value that an expression always comes to."""
    if site.kind == ARRAY and site.is_loose:
        values = [v for array in values for v in array]
    elif site.kind not in (FLOAT, BOOL) or value_of(site.tree) is not None:
        return None
    first = values[0]
    if not isinstance(first, int | float) or abs(first) > _LARGEST or any(v != first for v in values):
        return None
    return ast.Constant(bool(first)) if site.kind == BOOL else number(first)


def _part(site: Site, sites: list[Site], inside: set[int], seen: _Seen) -> ast.expr | None:
    """The shortest part of an expression that always comes to the same."""
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
