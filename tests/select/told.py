"""Algorithms that are told of results by hand."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from overnight.schemas.algorithm import Algorithm, Change, Plan, PromptResult, Turn
from overnight.schemas.program import Program
from overnight.schemas.search_settings import Search
from overnight.tasks.select import create_algorithm

START = Program("start", "return 0", (0.0,), 0.0)


def program(name: str, score: float, *, body: str = "return 1", signature: Sequence[float] = ()) -> Program:
    return Program(name, body, tuple(signature) or (score,), score)


def scored(name: str, *scores: float, body: str = "") -> Program:
    """Return a program whose score is the mean of those on each input."""
    return program(name, fmean(scores), body=body or f"return {name}", signature=scores)


def make(name: str, start: Program = START, seed: int = 0, **settings: Any) -> Any:
    """Return an algorithm as the registry makes it; of any type, since tests look inside."""
    return create_algorithm(Search.model_validate({"algorithm": {"name": name, **settings}}).algorithm, start, seed)


def tell(
    algorithm: Algorithm, base: str, *children: Program, samples: int | None = None, niche: str = "0"
) -> list[Change]:
    """Tell of one prompt: its base, its children, and its number of samples if some failed."""
    result = PromptResult(niche, base, len(children) if samples is None else samples, children)
    return algorithm.tell(1, [result], reset=False)


def ask(algorithm: Algorithm, prompts: int = 1, *, generation: int = 2) -> list[Plan]:
    return [algorithm.ask(Turn(generation, index)) for index in range(prompts)]


def in_flight(algorithm: Algorithm, slots: int) -> list[str]:
    """Return the ids of the bases of prompts that are in flight at the same time."""
    return [algorithm.ask(Turn(2, slot, slot)).base.id for slot in range(slots)]


def ids(programs: Sequence[Program]) -> list[str]:
    return [program.id for program in programs]
