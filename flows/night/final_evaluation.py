"""Final evaluation of a night: its best programs on inputs that the search has not used."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from overnight.flows.night.open_run import OpenRun
from overnight.flows.start.sandboxes import open_sandboxes, slots_of
from overnight.schemas.generation import Finalist, RunRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Split
from overnight.schemas.program import Program
from overnight.schemas.question import Ask
from overnight.schemas.scores import reduced


def judge_finalists(run: OpenRun) -> tuple[Finalist, ...]:
    """Evaluate the best programs by training score on the validation inputs, the winner and the start on the held-out.

    Return the finalists, best first: by validation score if there are validation inputs, else by training score. Of
    equal programs the earlier one comes first, so that the start program stays the best until another is better.

    Raises:
        SandboxUnavailable: If the engine fails, which must not count against a finalist.
    """
    start = run.state.start
    others = [program for program in _best_of_each_signature(run) if program.id != start.id]
    candidates = [one for one in (start, *others) if one.is_scored]
    if not candidates:
        return ()
    validation = scores_on(run.run, "validation", candidates, ask=run.ask)
    order = _ranked(run, candidates, validation)
    if _confirms(run):
        order = _with_confirmed_winner(run, order, validation)
    winner_and_start = [one for one in {order[0].id: order[0], start.id: start}.values() if one.is_scored]
    held_out = scores_on(run.run, "held_out", winner_and_start, isolation=_confirms(run) or None, ask=run.ask)
    return tuple(
        Finalist(program, program.score, validation.get(program.id), held_out.get(program.id)) for program in order
    )


def _best_of_each_signature(run: OpenRun) -> list[Program]:
    """Return the best programs, one per signature, since equal scores on all training inputs suggest equal programs."""
    settings = run.run.problem.settings
    in_order = settings.objectives.preference == "lexicographic"
    first: dict[tuple[float, ...], Program] = {}
    for program in run.state.programs.values():
        metrics = settings.objectives.goals(program.score, program.metrics) if in_order else ()
        first.setdefault((*program.scores, *metrics), program)
    return settings.objectives.ranked(first.values(), settings.finalists)


def _ranked(run: OpenRun, programs: list[Program], validation: dict[str, float]) -> list[Program]:
    """Sort programs by validation score, then by training score; programs without a validation score come last.

    Where the objectives count in their order, validation scores do not choose, but to have none does.
    """
    objectives = run.run.problem.settings.objectives
    if objectives.preference == "lexicographic":
        return sorted(objectives.ranked(programs, len(programs)), key=lambda program: program.id not in validation)
    return sorted(
        programs, key=lambda program: (validation.get(program.id, float("-inf")), program.score), reverse=True
    )


def _confirms(run: OpenRun) -> bool:
    return run.run.problem.settings.sandbox.confirm != "never"


def _with_confirmed_winner(run: OpenRun, order: list[Program], validation: dict[str, float]) -> list[Program]:
    """Confirm the first program on the validation inputs, and re-rank the programs until a confirmed one is first.

    Confirmation repeats the evaluation, isolated. The lower of both scores counts, and is set in `validation`; without
    a second score the program has none. The start program needs no confirmation.
    """
    rerun = {run.state.start.id}
    while (first := order[0]).id in validation and first.id not in rerun:
        rerun.add(first.id)
        confirmed_score = scores_on(run.run, "validation", [first], isolation=True, ask=run.ask).get(first.id)
        claimed_score = validation.pop(first.id)
        if confirmed_score is not None:
            validation[first.id] = min(claimed_score, confirmed_score)
        order = _ranked(run, order, validation)
    return order


def scores_on(
    run: RunRecord,
    split: Split,
    programs: Sequence[Program],
    *,
    isolation: bool | None = None,
    ask: Ask | None = None,
) -> dict[str, float]:
    """Evaluate programs on one split in a new sandbox; return scores by program id, without those that have none."""
    problem = run.problem
    if not problem.inputs[split]:
        return {}
    with (
        open_sandboxes(
            problem, split, seed=run.seed, run_id=run.run_id, isolation=isolation, programs=len(programs), ask=ask
        ) as sandbox,
        ThreadPoolExecutor(slots_of(problem)) as threads,
    ):
        sources = [problem.specification.program(program.body) for program in programs]
        verdicts = list(threads.map(sandbox.evaluate, sources))
        # What the others left too little processor time for is evaluated again by itself.
        verdicts = [
            sandbox.evaluate(source) if verdict.outcome is Outcome.SANDBOX_ERROR else verdict
            for source, verdict in zip(sources, verdicts, strict=True)
        ]
    scores = {
        program.id: reduced(verdict.scores, problem.settings.reducer)
        for program, verdict in zip(programs, verdicts, strict=True)
    }
    return {program_id: score for program_id, score in scores.items() if score is not None}
