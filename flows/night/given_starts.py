"""Further programs that a run begins with: of files, of earlier runs, or single programs of these."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from overnight.flows.formatting import score
from overnight.flows.night.rescore import require_the_same_function, score_kept, survivors_of
from overnight.flows.start.create_run import create_run, prepare_run
from overnight.flows.start.judging import judge_of
from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.interventions import Kind
from overnight.schemas.problem import Problem
from overnight.schemas.program import Program
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.interventions import add_request, new_request
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.batch_api import require_batches
from overnight.tasks.sample.provider import require_keys
from overnight.tasks.select.selection import Survivor

_MOST = 500
"""Most programs of an earlier run."""


def create_run_from(
    problem: Problem,
    path: Path,
    history: HistoryBackend,
    starts: Sequence[str],
    *,
    pin: str | None = None,
    seed: int,
    run_id: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> RunFiles:
    """Score a problem's start program and those that the user names, if any; write a run that begins with them.

    The history gets the run, and has the earlier ones. `starts` are files, RUN for the survivors of a run, or
    RUN:PROGRAM; `pin` is a file or RUN:PROGRAM with a further program, which is pinned.

    Raises:
        UsageError: If one names nothing.
        SpecificationError: If a file is of another problem, or has no score; nothing is written then.
        EnvironmentFault: If there is no sandbox, or no key for a model.
    """
    if not starts and not pin:
        return create_run(problem, path, history, seed=seed, run_id=run_id, tell=tell)
    require_batches(problem.settings.sampling)
    kept = [one for text in starts for one in _read(text, problem, history)]
    pinned = _read_one(pin, problem, history) if pin else None
    if pin and pinned:
        kept.append(pinned)
        starts = [*starts, pin]
    distinct = list({problem.code_hash(one.program.body): one for one in reversed(kept)}.values())[::-1]
    flags = shlex.join([word for text in starts for word in ("--start", text)])
    require_keys(problem.settings.sampling)
    asked = judge_of(problem)
    run, start = prepare_run(problem, path, asked, seed=seed, run_id=run_id, rescored_from=flags, tell=tell)
    scored = asked.put_into(score_kept(run, start, distinct, ask=asked.ask))
    _require_scores(distinct, scored)
    if tell:
        count = sum(one.score is not None for one in scored.judged)
        programs = "1 further program, which" if count == 1 else f"{count} further programs, the best of which"
        tell(f"begins with {programs} scores {score(scored.best.score)}")
    files = files_of(history, run.run_id)
    wanted = new_request(Kind.PIN, program_id=_id_of(pinned, problem, start, scored)) if pinned else None
    record.create(files, run, start, scored)
    if wanted:
        add_request(files, wanted)  # the first night takes it
    return files


def require_starts(problem: Problem, history: HistoryBackend, starts: Sequence[str], pin: str | None) -> None:
    """Raise the error of what `create_run_from` could not read; nothing is evaluated."""
    for text in starts:
        _read(text, problem, history)
    if pin:
        _read_one(pin, problem, history)


def lasting_name(text: str, problem: Problem, history: HistoryBackend) -> str:
    """Return what a `--start` names as it will still be called later: an absolute path, or the id of a run."""
    _read(text, problem, history)
    if Path(text).exists():
        return str(Path(text).resolve())
    name, *program = text.split(":", 1)
    return ":".join([find_run(history, name).run_id, *program])


def _read_one(text: str, problem: Problem, history: HistoryBackend) -> Survivor:
    found = _read(text, problem, history, "--pin")
    if len(found) != 1:
        raise UsageError(
            f"--pin {text}: expected one program, got {len(found)}", remedy=f"Name one: --pin {text}:PROGRAM"
        )
    return found[0]


def _id_of(kept: Survivor, problem: Problem, *generations: GenerationRecord) -> str:
    digest = problem.code_hash(kept.program.body)
    for generation in generations:
        for one in generation.judged:
            if one.score is not None and problem.code_hash(one.candidate.body) == digest:
                return one.id
    raise SpecificationError("--pin: the program has no score here", remedy="Name another one.")


def _read(text: str, problem: Problem, history: HistoryBackend, flag: str = "--start") -> list[Survivor]:
    if Path(text).exists():
        return [_of_file(Path(text), problem)]
    name, _, program = text.partition(":")
    if Path(name).suffix or "/" in name:
        raise UsageError(f"{flag} {text}: no such file", remedy="Name a specification file, RUN or RUN:PROGRAM.")
    files = find_run(history, name)
    run = stored_run.read_run(files)
    past = stored_run.read_run_history(files, samples=run.problem.settings.candidates_per_prompt)
    require_the_same_function(run.problem.specification, problem.specification)
    if not program:
        return survivors_of(run, past, problem.code_hash, _MOST)
    found = [one for key, one in past.programs.items() if key.startswith(program)]
    if len(found) != 1:
        raise UsageError(
            f"{flag} {text}: {len(found) or 'no'} scored programs of {files.run_id} begin with {program!r}",
            remedy=f"List them: overnight sql \"FROM best_programs('{files.run_id}')\"",
        )
    return [Survivor(found[0], ("0",))]


def _of_file(path: Path, problem: Problem) -> Survivor:
    other = load_problem(path)
    require_the_same_function(other.specification, problem.specification)
    return Survivor(Program("", other.specification.start_body, (), 0.0), (str(path),))


def _require_scores(kept: Sequence[Survivor], scored: GenerationRecord) -> None:
    """Check that each program of a file has a score; of earlier runs, some may have none here."""
    for one, judged in zip(kept, scored.judged, strict=True):
        if judged.score is None and not one.program.id:
            raise SpecificationError(
                f"--start {one.niches[0]}: it has no score: {judged.verdict.outcome.value}: {judged.verdict.error}",
                remedy=f"Look closer with: overnight check {shlex.quote(one.niches[0])}",
            )
