"""Print a night as lines of JSON on stdout, for scripts and coding agents: its run, each generation, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows.cli.printing import write_json

if TYPE_CHECKING:
    from flows.session import Session


def print_generations(session: Session) -> None:
    """Print the run now, and each generation once it is committed."""
    write_json(
        {
            "event": "run",
            "run_id": session.run.run_id,
            "problem": session.run.problem.name,
            "seed": session.run.seed,
            "start_score": session.state.start.score,
            "best_score": session.state.best.score,
        }
    )
    session.progress.watch(lambda number: write_json(_generation(session, number)))


def _generation(session: Session, number: int) -> dict[str, Any]:
    progress, best = session.progress, session.state.best
    return {
        "event": "generation",
        "run_id": session.run.run_id,
        "generation": number,
        "samples": progress.candidates,
        "best_score": best.score,
        "best_program_id": best.id,
        "outcomes": {outcome.value: count for outcome, count in progress.outcomes.items()},
        "tokens": progress.budget.tokens,
        **_cost(session),
    }


def print_end(session: Session, result: dict[str, Any], best_program_id: str) -> None:
    """Print how a night ended."""
    write_json(
        {
            "event": "night",
            "run_id": session.run.run_id,
            "night": result["night"],
            "stop_reason": result["stop_reason"],
            "generations": session.progress.generations,
            "samples": session.progress.candidates,
            "best_score": session.state.best.score,
            "best_program_id": best_program_id,
            "failed_generations": result["failed"],
            **_cost(session),
        }
    )


def _cost(session: Session) -> dict[str, Any]:
    """Return what the night has cost so far, and whether some prices are unknown, which count as 0."""
    budget = session.progress.budget
    return {"cost_usd": budget.night_usd, "has_unknown_costs": budget.has_unknown_costs}
