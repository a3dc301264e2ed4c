"""A script of a user's own that runs a night from Python; Pyright checks it strictly."""

# pyright: strict

from __future__ import annotations

from datetime import timedelta

import overnight


def tell(generation: overnight.Generation) -> None:
    """Print what a generation reached."""
    print(f"{generation.number}: {generation.best_score:.6g} after {generation.samples} samples")  # noqa: T201


def search(problem: str, models: dict[str, float]) -> overnight.Program:
    """Search for two hours, and return the best program; an error says what to do next."""
    try:
        run = overnight.evolve(
            problem,
            model=models,
            until=timedelta(hours=2),
            budget=2.0,
            settings={"search.algorithm": "tree"},
            on_generation=tell,
        )
    except overnight.errors.OvernightError as error:
        raise SystemExit(f"{error.message}\n{error.remedy}") from error
    if run.stop_reason == "interrupted":
        run = run.resume(generations=1)
    run.report("night.html")
    return run.best
