"""The select task: registers scored candidates, resets niches and commits the generation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from schemas.algorithm import Algorithm, Change, Child
from schemas.ids import program_id
from schemas.outcome import JUDGED_BEFORE, JUDGED_BESIDE, Outcome, Verdict
from schemas.program import Candidate, Judged, Program, reduced
from schemas.settings import Reducer


@dataclass(frozen=True, slots=True)
class Selected:
    """A generation after selection."""

    judged: tuple[Judged, ...]
    changes: tuple[Change, ...]
    best: Program


def judge(
    run_id: str,
    generation: int,
    pairs: Sequence[tuple[Candidate, Verdict | None]],
    reducer: Reducer,
    known: Collection[str] | None = None,
) -> list[Judged]:
    """Give candidates their ids and scores, in order.

    Of equal programs the first in order keeps the verdict, whichever ran first. Where the sandbox failed, all of them
    have its error.

    Args:
        run_id: Id of the run; goes into the ids of programs.
        generation: Number of the generation.
        pairs: Candidates with their verdicts; `None` where an equal one of the generation was evaluated instead.
        reducer: How the scores of the inputs become one.
        known: Code hashes of bodies evaluated in earlier generations. A candidate that was evaluated ahead of time may
            turn out to be one of them.
    """
    pairs = sorted(pairs, key=lambda pair: pair[0].index)
    shared = {candidate.code_hash for candidate, verdict in pairs if verdict is None}
    verdict_of = {candidate.code_hash: verdict for candidate, verdict in pairs if verdict is not None}
    seen: set[str] = set()
    judged = []
    for candidate, verdict in pairs:
        if candidate.code_hash in shared:
            ran = verdict_of[candidate.code_hash]
            keeps = candidate.code_hash not in seen or ran.outcome is Outcome.SANDBOX_ERROR
            verdict = ran if keeps else JUDGED_BESIDE
            seen.add(candidate.code_hash)
        if candidate.body and known is not None and candidate.code_hash in known:
            verdict = JUDGED_BEFORE
        if verdict is None:
            raise ValueError(f"candidate {candidate.index} has no verdict")
        verdict, score = _reduced(verdict, reducer)
        judged.append(Judged(program_id(run_id, generation, candidate.index), candidate, verdict, score))
    return judged


def _reduced(verdict: Verdict, reducer: Reducer) -> tuple[Verdict, float | None]:
    """Return the verdict with its reduced score. Finite scores whose sum is infinite are a bad score."""
    if not verdict.is_scored:
        return verdict, None
    score = reduced(verdict.scores, reducer)
    if score is None:
        error = f"expected finite scores, got ones whose {reducer} is too large for a float"
        return replace(verdict, outcome=Outcome.BAD_SCORE, scores=(), error=error), None
    return verdict, score


def register(
    judged: Sequence[Judged], generation: int, algorithm: Algorithm, best: Program, *, reset: bool
) -> Selected:
    """Tell the algorithm what was scored, and whether a reset is due."""
    children = [Child(one.candidate.prompt.niche, one.program()) for one in judged if one.score is not None]
    changes = algorithm.tell(generation, children, reset=reset)
    best = max([best, *(child.program for child in children)], key=lambda program: program.score)
    return Selected(tuple(judged), tuple(changes), best)


@task(name="select", task_run_name="select", cache_policy=NO_CACHE)
def select(register: Callable[[], Selected], commit: Callable[[Selected], None]) -> Selected:
    """Wrap registration and commit, which are one step, as a Prefect task."""
    selected = register()
    commit(selected)
    return selected
