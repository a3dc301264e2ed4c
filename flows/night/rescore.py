"""Rescoring: the surviving programs of a run, scored under a changed specification, begin a new run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from overnight.flows.night.rebuild import rebuild
from overnight.flows.night.recorded_verdicts import RecordedVerdicts
from overnight.flows.start.create_run import prepare_run, unasked_candidate
from overnight.flows.start.judging import judge_of
from overnight.flows.start.sandboxes import open_confirmations, open_sandboxes, slots_of
from overnight.flows.start.trust import trusted_run
from overnight.schemas.algorithm import Join
from overnight.schemas.errors import SpecificationError
from overnight.schemas.generation import GenerationRecord, RunHistory, RunRecord
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.outcome import Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import RESCORED, Judged, Program, best_of
from overnight.schemas.question import Ask
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.evaluate.confirmation import ConfirmationRules, Confirmer
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.select.selection import Survivor, judge, surviving_programs


@dataclass(frozen=True)
class Rescored:
    """The files and start program of a run that was begun with the rescored programs of another.

    Attributes:
        pairs: Each surviving program as it was and as it is now, the formerly best first.
        kept: Number of programs that survived in the old run, rescored or not.
    """

    files: RunFiles
    start: Program
    pairs: tuple[tuple[Program, Judged], ...]
    kept: int


def rescore(
    source: RunFiles,
    problem: Problem,
    path: Path,
    history: HistoryBackend,
    *,
    seed: int | None = None,
    most: int,
    report: Callable[[Verdict], None] = lambda _: None,
) -> Rescored:
    """Score the surviving programs of a run and begin a new run with them; the old one is only read.

    Args:
        source: Files of the old run.
        problem: The problem that scores them.
        path: Where the problem was read.
        history: The history that gets the new run.
        seed: Seed of the new run; by default the old one's.
        most: Largest number of programs.
        report: Called with each verdict.

    Raises:
        SpecificationError: If the programs do not fit, or the start program has no score; nothing is written then.
        EnvironmentFault: If there is no sandbox.
    """
    old = trusted_run(stored_run.read_run(source))
    past = stored_run.read_run_history(source, samples=old.problem.settings.candidates_per_prompt)
    require_the_same_function(old.problem.specification, problem.specification)
    everything = survivors_of(old, past, problem.code_hash)
    kept = survivors_of(old, past, problem.code_hash, most)
    asked = judge_of(problem)
    run, start = prepare_run(problem, path, asked, seed=old.seed if seed is None else seed, rescored_from=old.run_id)
    rescored = asked.put_into(score_kept(run, start, kept, report, asked.ask))
    files = files_of(history, run.run_id)
    record.create(files, run, start, rescored)
    pairs = zip((one.program for one in kept), rescored.judged, strict=True)
    return Rescored(files, start.best, tuple(pairs), len(everything))


def require_the_same_function(old: Skeleton, new: Skeleton) -> None:
    """Raise a SpecificationError unless bodies of one skeleton can be put into the other."""
    if old.shape != new.shape:
        raise SpecificationError(
            f"there it is {old.shape} that evolves, and here it is {new.shape}",
            remedy="A body can be scored anew where the name and the parameters of its function are the same, or "
            "the files and the number of their marked blocks.",
        )


def survivors_of(
    run: RunRecord, past: RunHistory, code_hash: Callable[[str], str], most: int | None = None
) -> list[Survivor]:
    """Return the programs of a run that are alive, and its best ones, the best first."""
    algorithm = rebuild(run, past).algorithm
    joins = [change for step in past.steps for change in step.all_changes if isinstance(change, Join)]
    born = {join.program_id: join.niche for join in reversed(joins)}
    ranked = sorted(past.programs.values(), key=lambda program: program.score, reverse=True)
    best = [(born[program.id], program) for program in ranked if program.id in born]
    distinct = {code_hash(program.body): (niche, program) for niche, program in reversed(best)}
    first = sorted(distinct.values(), key=lambda pair: pair[1].score, reverse=True)[: run.problem.settings.finalists]
    return surviving_programs(algorithm, past.start, first, code_hash, most)


def score_kept(
    run: RunRecord,
    start: GenerationRecord,
    kept: Sequence[Survivor],
    report: Callable[[Verdict], None] = lambda _: None,
    ask: Ask | None = None,
    recorded: RecordedVerdicts | None = None,
) -> GenerationRecord:
    """Score each program and confirm those that would be the best of a niche; return the new run's generation 1.

    `recorded` has its verdicts, if this is a replay.
    """
    problem, now = run.problem, datetime.now(UTC)
    niches = problem.settings.search.algorithm.founded_niches
    candidates = [
        unasked_candidate(
            *(problem, index, one.program.body, _niche_here(one.niches[0], niches), now),
            parents=(one.program.id,) if one.program.id else (),  # it descends from its program in the old run
            why=RESCORED,
        )
        for index, one in enumerate(kept)
    ]
    known = {problem.code_hash(problem.specification.start_body)}
    with (
        open_sandboxes(problem, "train", seed=run.seed, run_id=run.run_id, programs=len(kept), ask=ask) as sandbox,
        ThreadPoolExecutor(slots_of(problem), "overnight-slot") as threads,
    ):
        pairs = Evaluator(
            sandbox, problem.specification, lambda: known, lambda *judged: report(judged[-1]), threads
        ).evaluate(candidates, 1)
    rules = recorded or ConfirmationRules.of(problem.settings)
    if recorded:
        pairs = recorded.evaluated(pairs)
    judged = judge(run.run_id, 1, pairs, problem.settings.reducer, known, objectives=problem.settings.objectives)
    lives_on = {
        one.id: list(dict.fromkeys(_niche_here(name, niches) for name in was.niches))
        for one, was in zip(judged, kept, strict=True)
    }
    judged = _confirmed(run, rules, judged, lives_on, dict.fromkeys(niches, start.best.score), ask)
    changes = [Join(niche, one.id) for one in judged if one.score is not None for niche in lives_on[one.id]]
    programs = [start.best, *(one.program() for one in judged if one.score is not None)]
    return GenerationRecord(
        number=1,
        attempt=1,
        night=0,
        started_at=now,
        ended_at=datetime.now(UTC),
        best=best_of(programs),
        judged=tuple(judged),
        changes={0: tuple(changes)},
        place=1,
    )


def _confirmed(
    run: RunRecord,
    rules: ConfirmationRules,
    judged: Sequence[Judged],
    lives_on: Mapping[str, Sequence[str]],
    best: Mapping[str, float],
    ask: Ask | None,
) -> list[Judged]:
    """Re-run programs that would become the best of a niche; a program whose score differs is unconfirmed."""
    verdicts: dict[str, Verdict] = {}
    with (
        contextlib.closing(open_confirmations(run.problem, seed=run.seed, run_id=run.run_id, ask=ask)) as sandbox,
        ThreadPoolExecutor(slots_of(run.problem), "overnight-confirm") as threads,
    ):
        confirmer = Confirmer(sandbox, run.problem.specification)
        while True:
            now, missing = _settled(rules, judged, lives_on, best, verdicts)
            if not missing:
                return now
            again = threads.map(lambda claim: confirmer.run_again(claim, 1), missing.values())
            verdicts |= dict(zip(missing, again, strict=True))


def _settled(
    rules: ConfirmationRules,
    judged: Sequence[Judged],
    lives_on: Mapping[str, Sequence[str]],
    best: Mapping[str, float],
    verdicts: Mapping[str, Verdict],
) -> tuple[list[Judged], dict[str, Judged]]:
    now, missing, before = {one.id: one for one in judged}, dict[str, Judged](), None
    while now != before:  # one that is not confirmed makes another the best
        before = dict(now)
        for niche in best:
            mine = [_in(now[one.id], niche) for one in judged if niche in lives_on[one.id]]
            settled, wanted = rules.confirmed(mine, best, verdicts)
            now |= {one.id: replace(one, candidate=now[one.id].candidate) for one in settled}
            missing |= {one.id: one for one in wanted}
    return [now[one.id] for one in judged], missing


def _niche_here(name: str, niches: Sequence[str]) -> str:
    """Return the new run's niche for a program of a niche of the old run, which may have had others."""
    if name in niches:
        return name
    number = int(name) if name.isdecimal() else sum(name.encode())  # of a file, its path
    return niches[number % len(niches)]


def _in(one: Judged, niche: str) -> Judged:
    prompt = replace(one.candidate.prompt, niche=niche)
    return replace(one, candidate=replace(one.candidate, prompt=prompt))
