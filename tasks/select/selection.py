"""Selection: give candidates their scores, and the algorithm its results; list the programs that a run has kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from overnight.schemas.algorithm import Algorithm, Niche, PromptResult
from overnight.schemas.feedback import PromptRecord, sum_of_costs
from overnight.schemas.ids import program_id
from overnight.schemas.objectives import NO_OBJECTIVES, Objectives
from overnight.schemas.outcome import DUPLICATE_IN_GENERATION, DUPLICATE_IN_RUN, Outcome, Verdict
from overnight.schemas.program import Candidate, Judged, Program
from overnight.schemas.scores import with_score
from overnight.schemas.settings import Reducer


def judge(
    run_id: str,
    generation: int,
    pairs: Sequence[tuple[Candidate, Verdict]],
    reducer: Reducer,
    known: Collection[str] | None = None,
    seen: dict[str, Verdict] | None = None,
    objectives: Objectives = NO_OBJECTIVES,
) -> list[Judged]:
    """Give candidates their ids and scores, in order.

    Of equal programs the first in order keeps the verdict, whichever ran first. Where the sandbox failed, all of them
    have its error. Bodies whose code hash is known were evaluated in earlier generations; without these hashes,
    duplicates are evaluated again. Verdicts of the generation's earlier candidates are in `seen`, by code hash, to
    which those of `pairs` are added.
    """
    seen = {} if seen is None else seen
    judged = []
    for candidate, verdict in sorted(pairs, key=lambda pair: pair[0].index):
        if known is not None:
            verdict = _without_duplicates(candidate, verdict, known, seen)
        verdict, score, metrics = with_score(verdict, reducer, objectives)
        name = program_id(run_id, generation, candidate.index)
        judged.append(Judged(name, candidate, verdict, score, metrics=metrics))
    return judged


def _without_duplicates(
    candidate: Candidate, verdict: Verdict, known: Collection[str], seen: dict[str, Verdict]
) -> Verdict:
    key = candidate.code_hash
    if candidate.body and key in known:
        return DUPLICATE_IN_RUN
    if candidate.verdict is not None:
        return verdict
    if key not in seen:
        seen[key] = verdict
        return verdict
    return seen[key] if seen[key].outcome is Outcome.SANDBOX_ERROR else DUPLICATE_IN_GENERATION


def with_failed_twins(judged: Sequence[Judged], seen: dict[str, Verdict]) -> list[Judged]:
    """Return candidates where those equal to one that the sandbox failed to confirm have its error, too.

    So none of them counts as evaluated, whichever a later prompt repeats. `judged` are the candidates of one prompt
    after their confirmation; `seen`, as for `judge`, is corrected, too.
    """
    failed = {one.candidate.code_hash: one.verdict for one in judged if one.verdict.outcome is Outcome.SANDBOX_ERROR}
    seen.update({key: verdict for key, verdict in failed.items() if key in seen})
    return [
        replace(one, verdict=failed[one.candidate.code_hash])
        if one.verdict == DUPLICATE_IN_GENERATION and one.candidate.code_hash in failed
        else one
        for one in judged
    ]


def results_of(judged: Sequence[Judged]) -> list[PromptResult]:
    """Return what an algorithm is told of candidates: one result for each of their prompts, in order."""
    by_prompt: dict[int, list[Judged]] = {}
    for one in judged:
        by_prompt.setdefault(one.candidate.prompt.index, []).append(one)
    return [_result_of(mine) for mine in by_prompt.values()]


def _result_of(judged: Sequence[Judged]) -> PromptResult:
    prompt = judged[0].candidate.prompt
    return PromptResult(
        niche=prompt.niche,
        base_id=prompt.parent_ids[-1] if prompt.parent_ids else "",
        samples=sum(one.verdict.outcome is not Outcome.SANDBOX_ERROR for one in judged),
        children=tuple(one.program() for one in judged if one.score is not None),
    )


def record_of(judged: Sequence[Judged]) -> PromptRecord | None:
    """Return how the prompt of some candidates was asked and answered; `None` without candidates."""
    if not judged:
        return None
    prompt, completions = judged[0].candidate.prompt, [one.candidate.completion for one in judged]
    return PromptRecord(
        niche=prompt.niche,
        operator=prompt.operator,
        model=prompt.model,
        answers=tuple(one.feedback() for one in judged),
        tokens=sum(one.tokens_in + one.tokens_out for one in completions),
        cost_usd=sum_of_costs([one.cost_usd for one in completions]),
        evaluations=sum(one.evaluations for one in completions),
    )


@dataclass(frozen=True, slots=True)
class Survivor:
    """A program and the niches it lives in; the one it was born in, where it lives nowhere any more."""

    program: Program
    niches: tuple[str, ...]


def surviving_programs(
    algorithm: Algorithm,
    start: Program,
    best: Sequence[tuple[str, Program]],
    code_hash: Callable[[str], str],
    most: int | None = None,
) -> list[Survivor]:
    """Return distinct bodies, best first, without the start program.

    Args:
        algorithm: Its niches, as they are.
        start: The start program.
        best: The best programs of the run and the niches they were born in, alive or not; kept first.
        code_hash: Agrees for bodies that are the same.
        most: Limit on their number; the niches take turns, each with its best.
    """
    alive: dict[str, list[str]] = {}
    for name, niche in algorithm.niches.items():
        for program in _best_first(niche):
            alive.setdefault(code_hash(program.body), []).append(name)
    turns = zip_longest(*map(_best_first, algorithm.niches.values()))
    in_turns = (program for turn in turns for program in turn if program)
    found: dict[str, Survivor] = {}
    for born, program in (*best, *(("", program) for program in in_turns)):
        digest = code_hash(program.body)
        if program.id != start.id and digest not in found:
            found[digest] = Survivor(program, tuple(dict.fromkeys(alive.get(digest, [born]))))
    survivors = list(found.values())[:most]
    return sorted(survivors, key=lambda survivor: survivor.program.score, reverse=True)


def _best_first(niche: Niche) -> Iterator[Program]:
    return iter(sorted(niche.programs, key=lambda program: program.score, reverse=True))
