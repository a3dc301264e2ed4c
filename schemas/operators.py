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
    TUNE = "tune"
    """Other numbers, found by an optimizer; no model is asked."""
