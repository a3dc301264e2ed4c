"""The final of a night: its best programs on inputs that the search has never seen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from flows.session import Session, open_sandboxes, slots_of
from schemas.errors import SandboxUnavailable
from schemas.generation import Finalist
from schemas.outcome import Outcome, Verdict
from schemas.problem import Split
from schemas.program import Program, reduced
from tasks.evaluate.sandbox import Sandbox


def judge_finalists(session: Session) -> tuple[Finalist, ...]:
    """The best programs by training score, tried on the validation inputs; the winner and the start on the held-out.

    Returns:
        Best first: by validation score where there are validation inputs, else by training score; of equals the
        earlier one, so that the start program stays the best until another is better.
    """
    start = session.population.start
    entrants = [start, *(program for program in _best_of_each_signature(session) if program.id != start.id)]
    validation = _scores(session, "validation", entrants)
    order = sorted(entrants, key=lambda program: _rank(program, validation), reverse=True)
    held_out = _scores(session, "held_out", list({order[0].id: order[0], start.id: start}.values()))
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


def _rank(program: Program, validation: dict[str, float]) -> tuple[float, float]:
    return validation.get(program.id, float("-inf")), program.score


def _scores(session: Session, split: Split, programs: list[Program]) -> dict[str, float]:
    """Reduced score of each program on a split, by id; without those that fail there, empty if it has no inputs."""
    problem = session.run.problem
    if not problem.inputs[split]:
        return {}
    with (
        open_sandboxes(problem, split, seed=session.run.seed, run_id=session.run.run_id) as sandbox,
        ThreadPoolExecutor(slots_of(problem)) as threads,
    ):
        sources = [problem.specification.with_body(program.body) for program in programs]
        verdicts = list(threads.map(lambda source: _judge(sandbox, source), sources))
    scores = {
        program.id: reduced(verdict.scores, problem.settings.reducer)
        for program, verdict in zip(programs, verdicts, strict=True)
    }
    return {program_id: score for program_id, score in scores.items() if score is not None}


def _judge(sandbox: Sandbox, source: str) -> Verdict:
    """The verdict on a finalist, who must not lose its place by a fault of ours.

    Raises:
        SandboxUnavailable: If the sandbox fails again.
    """
    verdict = sandbox.evaluate(source)
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        verdict = sandbox.evaluate(source)
    if verdict.outcome is Outcome.SANDBOX_ERROR:
        raise SandboxUnavailable(
            f"the final is undecided: {verdict.error}", remedy="`overnight resume last --generations 1` holds it again."
        )
    return verdict
