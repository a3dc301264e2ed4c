"""Features of a program that are read from the text of its body, without running it."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from schemas.algorithm_settings import Feature
from tasks.program import python_source

_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_BRANCHES = (ast.If, ast.IfExp, ast.match_case, ast.ExceptHandler)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult, ast.USub)
_NESTED = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.Match, ast.Try, ast.With)
"""Nodes whose blocks are one level deeper."""


def features_of(body: str) -> Mapping[Feature, int]:
    """Return the numbers of loops, branches and arithmetic operators of a body, its levels of nesting and its length.

    Of a body that is no Python, all but the length are 0.
    """
    counts: dict[Feature, int] = {"loops": 0, "branches": 0, "operators": 0, "nesting": 0, "length": len(body)}
    try:
        tree = python_source.parse_shallow(body)
    except python_source.SourceError:
        return counts
    for node in ast.walk(tree):
        counts["loops"] += isinstance(node, _LOOPS)
        counts["branches"] += isinstance(node, _BRANCHES)
        counts["operators"] += isinstance(node, _ARITHMETIC)
    counts["nesting"] = _nesting(tree)
    return counts


def _nesting(tree: ast.AST) -> int:
    """Return the largest number of loops and conditions around a statement; an `elif` is no level deeper."""
    deepest = 0
    open_nodes: list[tuple[ast.AST, int]] = [(tree, 0)]
    while open_nodes:
        node, level = open_nodes.pop()
        inner = level + isinstance(node, _NESTED)
        deepest = max(deepest, inner)
        for child in ast.iter_child_nodes(node):
            is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
            open_nodes.append((child, level if is_elif else inner))
    return deepest
