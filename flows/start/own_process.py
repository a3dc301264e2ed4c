"""Choice of where the programs of a command run: in a process of their own, if the start program scores the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from overnight.flows.start.sandboxes import open_sandboxes
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem

_ROUNDING = 1e-9
"""Part of a score by which the sum of the same numbers may differ."""


def with_process(problem: Problem, *, seed: int, run_id: str, tell: Callable[[str], object] | None = None) -> Problem:
    """Return a problem that says where its programs run, where its settings leave it open (`command.process`).

    Args:
        problem: The problem.
        seed: Seed of the run.
        run_id: Id of the run.
        tell: Takes the choice, and the reason.
    """
    if problem.settings.command.process != "auto":
        return problem
    reason = _obstacle(problem, seed, run_id)
    if tell:
        tell(
            f"programs share the evaluator's process: {reason}"
            if reason
            else "programs run in a process of their own, where the start program scores the same"
        )
    return _with(problem, "shared" if reason else "own")


def _with(problem: Problem, process: Literal["own", "shared"]) -> Problem:
    settings = problem.settings
    command = settings.command.model_copy(update={"process": process})
    return replace(problem, settings=settings.model_copy(update={"command": command}))


def _obstacle(problem: Problem, seed: int, run_id: str) -> str:
    """Return why programs cannot have a process of their own; empty if they can."""
    if problem.specification.language != "python" or not isinstance(problem.settings.command.program, str):
        return "the program is not one Python file"

    def score(process: Literal["own", "shared"], seed: int = seed) -> Verdict:
        chosen = _with(problem, process)
        with open_sandboxes(chosen, "train", seed=seed, run_id=run_id, programs=1) as pool:
            return pool.evaluate(problem.specification.start_program)

    with ThreadPoolExecutor(2, "overnight-process") as threads:
        apart, together = threads.submit(score, "own"), threads.submit(score, "shared")
        own, shared = apart.result(), together.result()
    if not shared.is_scored:  # which is said where the start program is required to have a score
        return "the start program has no score"
    if not own.is_scored:
        return f"in one of its own the start program is {own.outcome.value}: {' '.join(own.error.split())}"
    noise = problem.settings.noise
    pairs = list(zip(own.scores, shared.scores, strict=True))
    if all(math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=noise) for one, other in pairs):
        return ""
    # Scores that chance or a clock decides differ between any two runs: by how much, two further seeds tell.
    runs = [shared, score("shared", seed + 1), score("shared", seed + 2)]
    for one, *scores in zip(own.scores, *(run.scores for run in runs if run.is_scored), strict=True):
        low, high = min(scores), max(scores)
        if not low - (high - low) - noise <= one <= high + (high - low) + noise:
            return f"in one of its own the start program scores {one:.6g}, not {scores[0]:.6g}"
    return ""
