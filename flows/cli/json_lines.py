"""Print a night as lines of JSON on stdout, for scripts and coding agents: its run, each generation, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.cli.printing import write_json

if TYPE_CHECKING:
    from flows.night.open_run import OpenRun


def print_generations(run: OpenRun) -> None:
    """Print the run now, and each generation once it is committed."""
    write_json(
        {
            "event": "run",
            "run_id": run.run.run_id,
            "problem": run.run.problem.name,
            "seed": run.run.seed,
            "start_score": run.state.start.score,
            "best_score": run.state.best.score,
        }
    )
    run.progress.watch(lambda number: write_json(_generation(run, number)))


def _generation(run: OpenRun, number: int) -> dict[str, Any]:
    progress = run.progress
    return {
        "event": "generation",
        "run_id": run.run.run_id,
        "generation": number,
        "samples": progress.candidates,
        "best_score": progress.best,
        "best_program_id": progress.best_id,
        "outcomes": {outcome.value: count for outcome, count in progress.outcomes.items()},
        "tokens": progress.budget.tokens,
        **_cost(run),
    }


def print_end(run: OpenRun, result: dict[str, Any], best_program_id: str) -> None:
    """Print how a night ended."""
    write_json(
        {
            "event": "night",
            "run_id": run.run.run_id,
            "night": result["night"],
            "stop_reason": result["stop_reason"],
            "generations": run.progress.generations,
            "samples": run.progress.candidates,
            "best_score": run.state.best.score,
            "best_program_id": best_program_id,
            "failed_generations": result["failed"],
            **_cost(run),
        }
    )


def _cost(run: OpenRun) -> dict[str, Any]:
    """Return what the night has cost so far, and whether some prices are unknown, which count as 0."""
    budget = run.progress.budget
    return {"cost_usd": budget.night_usd, "has_unknown_costs": budget.has_unknown_costs}
