"""The final of a night: its best programs on inputs that the search has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from flows.sandboxes import open_sandboxes, slots_of
from flows.session import Session
from schemas.generation import Finalist, RunRecord
from schemas.problem import Split
from schemas.program import Program, reduced
from tasks.evaluate.fault_attribution import evaluate_with_retry


def judge_finalists(session: Session) -> tuple[Finalist, ...]:
    """The best programs by training score, tried on the validation inputs; the winner and the start on the held-out.

    Returns:
        Best first: by validation score where there are validation inputs, else by training score; of equals the
        earlier one, so that the start program stays the best until another is better.

    Raises:
        SandboxUnavailable: If the engine is at fault, which must cost no finalist its place.
    """
    start = session.start
    entrants = [start, *(program for program in _best_of_each_signature(session) if program.id != start.id)]
    validation = scores_on(session.run, "validation", entrants)
    order = _ordered(entrants, validation)
    if _confirms(session):
        order = _with_a_confirmed_first(session, order, validation)
    winner_and_start = list({order[0].id: order[0], start.id: start}.values())
    held_out = scores_on(session.run, "held_out", winner_and_start, isolation=_confirms(session) or None)
    return tuple(
        Finalist(program, program.score, validation.get(program.id), held_out.get(program.id)) for program in order
    )


def _best_of_each_signature(session: Session) -> list[Program]:
    """The best programs, one for each signature: equal scores on every training input promise nothing new."""
    first: dict[tuple[float, ...], Program] = {}
    for program in session.programs.values():
        first.setdefault(program.scores, program)
    ranked = sorted(first.values(), key=lambda program: program.score, reverse=True)
    return ranked[: session.run.problem.settings.finalists]


def _ordered(programs: list[Program], validation: dict[str, float]) -> list[Program]:
    """Best first; those without a score on validation last."""
    return sorted(programs, key=lambda one: (validation.get(one.id, float("-inf")), one.score), reverse=True)


def _confirms(session: Session) -> bool:
    return session.run.problem.settings.sandbox.confirm != "never"


def _with_a_confirmed_first(session: Session, order: list[Program], validation: dict[str, float]) -> list[Program]:
    """The order once its first was run again, split, on the validation inputs; the lower score counts, if there is one.

    Args:
        session: Of the run.
        order: Best first.
        validation: Score of each by id; what turned out otherwise is put right.
    """
    seen = {session.start.id}
    while (first := order[0]).id in validation and first.id not in seen:
        seen.add(first.id)
        again = scores_on(session.run, "validation", [first], isolation=True).get(first.id)
        claimed = validation.pop(first.id)
        if again is not None:
            validation[first.id] = min(claimed, again)
        order = _ordered(order, validation)
    return order


def scores_on(
    run: RunRecord, split: Split, programs: Sequence[Program], *, isolation: bool | None = None
) -> dict[str, float]:
    """Score of each program by id on one split, in a sandbox of its own; of those that have one.

    Args:
        run: Whose programs they are.
        split: The inputs; without any, nobody has a score.
        programs: To be run.
        isolation: Whether the evolved function has a process of its own; as the settings say by default.
    """
    problem = run.problem
    if not problem.inputs[split]:
        return {}
    with (
        open_sandboxes(
            problem, split, seed=run.seed, run_id=run.run_id, isolation=isolation, programs=len(programs)
        ) as sandbox,
        ThreadPoolExecutor(slots_of(problem)) as threads,
    ):
        sources = [problem.specification.with_body(program.body) for program in programs]
        verdicts = list(
            threads.map(lambda source: evaluate_with_retry(sandbox, source, honest=problem.specification.text), sources)
        )
    scores = {
        program.id: reduced(verdict.scores, problem.settings.reducer)
        for program, verdict in zip(programs, verdicts, strict=True)
    }
    return {program_id: score for program_id, score in scores.items() if score is not None}
