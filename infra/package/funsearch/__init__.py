"""Marks of a specification, so that its file runs under Python, in an IDE, a debugger and pytest as it stands.

The marks change nothing; Overnight reads them as text. In the sandbox, programs import a module like this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from funsearch import svg as svg

_Function = TypeVar("_Function", bound=Callable[..., Any])

__all__ = ["ask", "draw", "evolve", "inputs", "note", "run", "svg"]


def evolve(function: _Function) -> _Function:
    """Mark a function to improve."""
    return function


def run(function: _Function) -> _Function:
    """Mark the function that scores a program on one input; it returns a number, and higher is better.

    Or a dict with `"score"`, further numbers by name, which are its metrics, and possibly `"notes"`.
    """
    return function


def note(value: object) -> None:
    """Say something of the input that is being scored: text, a number or a small table. Here it does nothing."""


def ask(prompt: str) -> str:
    """Return the answer of the model that judges, from the scoring alone. Outside of Overnight none is asked.

    Raises:
        RuntimeError: Here, always.
    """
    raise RuntimeError(f"no model is asked here: overnight check FILE --judge MODEL asks one: {prompt[:80]!r}")


def draw(function: _Function) -> _Function:
    """Mark a function that draws what a program does on one input."""
    return function


def inputs(function: _Function) -> _Function:
    """Mark a function that returns an input for a seed, a whole number; other seeds give other inputs."""
    return function
