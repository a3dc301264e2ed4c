"""Choice of where the programs of a command run: in a process of their own, if the start program scores the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from overnight.flows.formatting import score
from overnight.flows.start.sandboxes import open_sandboxes, require_ran
from overnight.schemas.objectives import SCORE, Objectives
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem

_REASON_CHARS = 400
"""Maximum length of the end of an error that is told, characters."""

_ROUNDING = 1e-9
"""Part of a score by which the sum of the same numbers may differ."""


def settle_process(
    problem: Problem, *, seed: int, run_id: str, tell: Callable[[str], object] | None = None
) -> tuple[Problem, Verdict | None]:
    """Return a problem that says where its programs run, where its settings leave it open (`command.process`).

    Beside it is the verdict on its start program as it runs then, if that was evaluated and has a score. `tell` takes
    the choice, and the reason.

    Raises:
        SandboxUnavailable: If the sandbox failed.
    """
    if problem.settings.command.process != "auto":
        return problem, None
    if problem.asks:  # which it may from such a process alone
        return _with(problem, "own"), None
    reason, verdict = _try_both(problem, seed, run_id)
    if tell:
        tell(
            f"programs share the evaluator's process: {reason}"
            if reason
            else "programs run in a process of their own, where the start program scores the same"
        )
    return _with(problem, "shared" if reason else "own"), verdict


def _with(problem: Problem, process: Literal["own", "shared"]) -> Problem:
    settings = problem.settings
    command = settings.command.model_copy(update={"process": process})
    return replace(problem, settings=settings.model_copy(update={"command": command}))


def _try_both(problem: Problem, seed: int, run_id: str) -> tuple[str, Verdict | None]:
    """Return why programs cannot have a process of their own, empty if they can, and the verdict that counts then."""
    if problem.specification.language != "python" or not isinstance(problem.settings.command.program, str):
        return "the program is not one Python file", None

    def score(process: Literal["own", "shared"], seed: int = seed) -> Verdict:
        chosen = _with(problem, process)
        with open_sandboxes(chosen, "train", seed=seed, run_id=run_id, programs=1) as pool:
            return require_ran(pool.evaluate(problem.specification.start_program))

    with ThreadPoolExecutor(2, "overnight-process") as threads:
        apart, together = threads.submit(score, "own"), threads.submit(score, "shared")
        own, shared = apart.result(), together.result()
    if not shared.is_scored:  # which is said where the start program is required to have a score
        return "the start program has no score", None
    if not own.is_scored:
        last = own.error.strip().splitlines()[-1][-_REASON_CHARS:] if own.error.strip() else ""
        return f"in one of its own the start program is {own.outcome.value}: {last}", shared
    noise, objectives = problem.settings.noise, problem.settings.objectives
    pairs = zip(_counted(own, objectives), _counted(shared, objectives), strict=True)
    if all(math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=noise) for one, other in pairs):
        return "", own
    # Scores that chance or a clock decides differ between any two runs: by how much, two further seeds tell.
    runs = [run for run in (shared, score("shared", seed + 1), score("shared", seed + 2)) if run.is_scored]
    difference = _difference(_counted(own, objectives), [_counted(run, objectives) for run in runs], noise)
    return difference, shared if difference else own


def _counted(verdict: Verdict, objectives: Objectives) -> list[float]:
    """Return the scores, and the metrics that are objectives or have a limit; NaN where one is missing."""
    missing = [None] * len(verdict.scores)
    names = [name for name in {**objectives.metrics, **objectives.limits} if name != SCORE]
    metrics = [value for name in names for value in verdict.metrics.get(name, missing)]
    return [*verdict.scores, *(math.nan if value is None else value for value in metrics)]


def _difference(own: Sequence[float], runs: Sequence[Sequence[float]], noise: float) -> str:
    """Return the difference of a number from those of other runs, if it is more than they differ among themselves."""
    for one, *scores in zip(own, *runs, strict=True):
        low, high = min(scores), max(scores)
        if not low - (high - low) - noise <= one <= high + (high - low) + noise:
            return f"in one of its own the start program scores {score(one)}, not {score(scores[0])}"
    return ""
