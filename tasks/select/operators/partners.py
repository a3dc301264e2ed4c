"""The partner of a base in a prompt that combines two programs.

After GEPA (arXiv 2507.19457), which keeps the programs that are best on any input: the partner is the program that
beats the base on most inputs.
"""

from __future__ import annotations

from collections.abc import Iterable

from schemas.program import Program


def partner_of(base: Program, programs: Iterable[Program]) -> Program | None:
    """Return the program to combine with a base: no better than it, with other scores; the first of equals.

    Args:
        base: The base.
        programs: Programs to choose from.
    """
    others = [one for one in programs if one.score <= base.score and one.scores != base.scores and one.id != base.id]
    return max(others, key=lambda one: (inputs_better(one, base), one.score), default=None)


def inputs_better(one: Program, other: Program) -> int:
    """Return the number of inputs on which a program beats another."""
    return sum(mine > theirs for mine, theirs in zip(one.scores, other.scores, strict=False))
