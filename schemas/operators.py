"""The operators: what a prompt asks a model to do with the programs that it shows."""

from __future__ import annotations

from enum import StrEnum


class Operator(StrEnum):
    """The kind of change that a prompt asks for; a closed list."""

    REFINE = "refine"
    """One targeted change of the base."""
    REWRITE = "rewrite"
    """The same idea, built better."""
    FRESH = "fresh"
    """Another algorithm, from nothing."""
    CROSS = "cross"
    """The best parts of two programs in one."""
    SIMPLIFY = "simplify"
    """The same with less."""
    REPAIR = "repair"
    """A child that failed, mended."""
    TACTIC = "tactic"
    """A change along a general line of thought, where small changes have stopped helping."""
    HINT = "hint"
    """What a person suggests, or a change of the base that a person pinned."""
    TUNE = "tune"
    """Other numbers, found by an optimizer; no model is asked."""


CHOOSABLE = tuple(one for one in Operator if one not in (Operator.HINT, Operator.TUNE))
"""Operators that the search may choose by itself."""

PROMPTS_PER_HINT = 2
"""While a hint or a pin is in force, one of so many prompts asks for it."""
