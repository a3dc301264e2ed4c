"""`overnight best`: show the best program of a run, or write it to a file once it has scored again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from overnight.flows.cli import options
from overnight.flows.cli import under_way as of_open
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    history_flag,
    require_new,
    say,
    say_score_warning,
    score,
    warn_if_misleading,
    write_code,
    write_json,
    write_new,
)
from overnight.flows.start.judging import judge_of
from overnight.flows.start.trust import accept_sandbox
from overnight.schemas.errors import OvernightError, UsageError
from overnight.schemas.files import HIDDEN_REMEDY, is_hidden
from overnight.schemas.generation import Finalist, NightRecord, RunHistory, RunRecord, fails_on
from overnight.schemas.objectives import SCORE, Objectives, are_met, conditions
from overnight.schemas.problem import Problem, Split
from overnight.schemas.program import Program
from overnight.schemas.question import Ask
from overnight.schemas.report_data import UnderWay
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.report.number_format import gain_of

_OTHER_PICTURES = (".gif", ".jpeg", ".jpg", ".pdf", ".png", ".webp")

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles


def best(
    run: options.RunId = "last",
    /,
    *,
    write: Path | None = None,
    prefer: str | None = None,
    as_found: bool = False,
    unchecked: bool = False,
    trust_settings: options.TrustSettings = False,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """Show the best program of a run, or write it to a file.

    If the problem has validation inputs, the best program is the one chosen by them at the end of the last night.

    Args:
        write: evaluate the program once more, then write the specification with it to this file; of several files that
            evolve together, write the whole tree to this new folder; FILE.svg gets a picture of what it does
        prefer: in place of the best score of all: the best of the programs that meet conditions on metrics, such as
            "seconds < 1, memory_mib <= 64"; of equal scores the one that is better in the objectives
        as_found: the program as it was found, before what no score needs was left out of it
        unchecked: write it without evaluating it again
    """
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.under_way import read_under_way
    from overnight.tasks.history.winners import best_program

    files = find_run(history, run)
    run_record, past = stored_run.read_run(files), stored_run.read_run_history(files)
    specification = run_record.problem.specification
    if write is not None:
        require_new(write) if _is_picture(write, run_record) else require_new_program(write, run_record.problem)
    program, deciding_night = best_program(files, past)
    objectives = run_record.problem.settings.objectives
    if prefer is not None:
        program, deciding_night = preferred(prefer, past.programs.values(), objectives, history_flag(history)), None
        if run_record.problem.settings.confirmations == "best":
            say("it may not be confirmed, as only those are that would be a best: --write evaluates it once more")
    best = program
    program = past.programs.get(best.pruned_from, best) if as_found else best
    say(f"program {program.id}, {_scores(program, deciding_night)}")
    _say_left_out(best, past, specification, history_flag(history), as_found=as_found)
    under_way = read_under_way(files, max(one.score for one in past.programs.values()))
    _say_notes(files, run_record.problem, past, program, under_way, is_best=prefer is None and program is best)
    if format == "json":
        finalist = _finalist(program, deciding_night)
        write_json(
            {
                "run_id": files.run_id,
                "program_id": program.id,
                "score": program.score,
                "scores": program.scores,
                "metrics": program.metrics,
                "validation": finalist and finalist.validation,
                "held_out": finalist and finalist.held_out,
                "start_score": past.start.score,
                "claim_under_way": under_way.claim and asdict(under_way.claim),
                "code": specification.function_text(program.body),
            }
        )
        if write is None:
            return
    if write is None:
        write_code(specification.function_text(program.body))
        return
    if _is_picture(write, run_record):
        accept_sandbox(run_record.problem, trust=trust_settings)
        _write_picture(write, run_record, program)
        return
    if not unchecked:
        accept_sandbox(run_record.problem, trust=trust_settings)
        others = [] if prefer else _others(run_record, past, deciding_night, program)
        candidates = [program, *others]
        ask = judge_of(run_record.problem, stored_run.read_answers(files)).ask
        program = _first_that_scores(run_record, candidates, ask)
    write_program(write, run_record.problem, program.body)
    say(f"wrote {write}")
    warn_if_misleading(specification.function_text(program.body))


def _say_notes(
    files: RunFiles, problem: Problem, past: RunHistory, program: Program, under_way: UnderWay, *, is_best: bool
) -> None:
    """Say what is to be known of the program that is shown: is_best if it is the best of the run."""
    objectives = problem.settings.objectives
    if program.metrics:
        say(f"metrics: {', '.join(f'{name} {score(value)}' for name, value in program.metrics.items())}")
    if is_best and (note := best_note(program, past.programs.values(), problem)):
        say(note)
    if is_best and under_way.claim:
        say(of_open.note(files, under_way))
    if is_best and objectives.metrics and program.is_scored:
        of_front = f"overnight sql \"FROM front WHERE run_id = '{files.run_id}'\"{history_flag(files.backend)}"
        say(f"{_place_in_front(program, past.programs.values(), objectives)}: {of_front}")
    if program.id == past.start.id:
        say("it is the start program; no program is better yet")
    else:
        say_score_warning(problem)


def _place_in_front(program: Program, programs: Iterable[Program], objectives: Objectives) -> str:
    """Return whether a program is one that no other beats in the score and every objective, in words."""
    goals = objectives.goals(program.score, program.metrics)
    for other in (one for one in programs if one.is_scored):
        own = objectives.goals(other.score, other.metrics)
        if own != goals and all(theirs >= mine for theirs, mine in zip(own, goals, strict=True)):
            return (
                f"{other.id} is as good in all objectives and better in one; the programs that none beats in everything"
            )
    return "it is one of the programs that none beats in everything"


def preferred(text: str, programs: Iterable[Program], objectives: Objectives, flag: str) -> Program:
    """Return the program with the best score among those that meet the conditions in a text.

    Of equal scores, it is the one that is better in the objectives, in their order.
    """
    programs = list(programs)
    try:
        wanted = conditions(text)
    except ValueError as error:
        raise UsageError(f"--prefer: {error}", remedy='For example: --prefer "seconds < 1, score >= 0.5"') from error
    known = dict.fromkeys([SCORE, *(name for program in programs for name in program.metrics)])
    if unknown := [name for name in wanted if name not in known]:
        raise UsageError(
            f"--prefer: no program has the metric {unknown[0]!r}", remedy=f"The metrics are: {', '.join(known)}."
        )
    met = [program for program in programs if are_met(wanted, program.score, program.metrics)]
    if not met:
        raise UsageError(
            f"--prefer: none of {len(programs)} scored programs meets {text!r}",
            remedy=f'Ask for less; `overnight sql "FROM front"{flag}` shows what can be had.',
        )
    return max(met, key=lambda program: objectives.goals(program.score, program.metrics))


def _is_picture(path: Path, run: RunRecord) -> bool:
    """Return whether a file to write is a picture, not a program, which may be an SVG file itself."""
    suffix, programs = path.suffix.lower(), run.problem.specification.start_program.paths
    if suffix in _OTHER_PICTURES and not any(name.lower().endswith(suffix) for name in programs):
        raise UsageError(f"pictures are written as SVG, got {path.name}", remedy=f"Write {path.stem}.svg.")
    return suffix == ".svg" and not any(name.endswith(".svg") for name in programs)


def _write_picture(path: Path, run: RunRecord, program: Program) -> None:
    from overnight.flows.report.drawings import draw_programs

    if not run.problem.draws:
        raise UsageError(
            f"{run.problem.name} has no function that draws",
            remedy="Mark one with @funsearch.draw in the specification, and begin a new run with it.",
        )
    drawings = draw_programs(run.problem, {program.id: program.body}, seed=run.seed, run_id=run.run_id, note=say)
    if drawings.remark:
        raise OvernightError(drawings.remark, remedy="`overnight check` says whether the start program can be drawn.")
    write_new(path, drawings.pictures[program.id])
    say(f"wrote {path}")


def _say_left_out(best: Program, past: RunHistory, skeleton: Skeleton, flag: str, *, as_found: bool) -> None:
    """Say what was left out of the best program, of which the program before may be shown."""
    from overnight.flows.night.facts import left_out_text

    if left_out := left_out_text(best, past.programs, skeleton, flag):
        say(f"{left_out}; this is the program before" if as_found else f"{left_out}, --as-found the program before")
    elif as_found:
        say("the program before was dropped" if best.pruned_from else "nothing was left out of it")


def best_note(best: Program, programs: Iterable[Program], problem: Problem) -> str:
    """Return a note if another program has a higher training score than the chosen one; otherwise an empty text."""
    highest = max(programs, key=lambda program: program.score)
    if gain_of(best.score, highest.score) <= 0:
        return ""
    return (
        f"{highest.id} scores {score(highest.score)} on the training inputs, but the best program is chosen "
        f"{problem.choice}"
    )


def _scores(program: Program, night: NightRecord | None) -> str:
    parts = [f"score {score(program.score)} on the training inputs"]
    if finalist := _finalist(program, night):
        by_split = (("validation", finalist.validation), ("held-out", finalist.held_out))
        parts += [f"{score(value)} on the {name} inputs" for name, value in by_split if value is not None]
    if night is not None and finalist:
        parts += [f"none on the {name} inputs, where it fails" for name in fails_on(finalist, night.finalists)]
    return ", ".join(parts)


def _finalist(program: Program, night: NightRecord | None) -> Finalist | None:
    """Return a program's scores on other inputs at the end of a night; `None` if it was no finalist."""
    return next((each for each in (night.finalists if night else ()) if each.program.id == program.id), None)


def _others(run: RunRecord, past: RunHistory, night: NightRecord | None, program: Program) -> list[Program]:
    """Return the programs to try if the best one fails, best first: the other finalists of the night that chose it, or,
    without such a night, the next best training scores.
    """
    if night is not None:
        return [finalist.program for finalist in night.finalists if finalist.program.id != program.id]
    ascending = sorted(past.programs.values(), key=lambda other: other.score)
    by_signature = {other.scores: other for other in ascending}
    ranked = sorted(by_signature.values(), key=lambda other: other.score, reverse=True)
    return [other for other in ranked if other.scores != program.scores][: run.problem.settings.finalists - 1]


def _first_that_scores(run: RunRecord, programs: Sequence[Program], ask: Ask | None) -> Program:
    """Return the first program that gets a score on the held-out inputs now.

    Without held-out inputs, the validation inputs are used; without those, the training inputs.
    """
    from overnight.flows.night.final_evaluation import scores_on

    inputs = run.problem.inputs
    isolation = None if run.problem.settings.sandbox.confirm == "never" else True
    split: Split = "held_out" if inputs["held_out"] else "validation" if inputs["validation"] else "train"
    name = {"held_out": "held-out", "train": "training"}.get(split, split)
    for number, program in enumerate(programs):
        value = scores_on(run, split, [program], isolation=isolation, ask=ask).get(program.id)
        if value is not None:
            result = f"{score(value)} on the {name} inputs"
            if number == 0:
                say(f"evaluated once more: {result}")
            else:
                say(f"evaluated once more; the next finalist, program {program.id}, scores {result}")
            return program
        say(f"program {program.id} gets no score on the {name} inputs")
    raise OvernightError(
        f"none of the {len(programs)} best programs gets a score on the {name} inputs now; nothing was written",
        remedy="`overnight doctor` checks the sandbox; --unchecked writes the best program without a score.",
    )


def write_program(path: Path, problem: Problem, body: str) -> None:
    """Write a program: its only file, or a new folder with all evolving files and those that the problem delivers."""
    require_new_program(path, problem)
    if isinstance(problem.settings.command.program, str):
        write_new(path, problem.specification.program(body).main)
        return
    try:
        for name, content in _contents(problem, body).items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            with (path / name).open("xb") as handle:
                handle.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another folder.") from error


def require_new_program(path: Path, problem: Problem) -> None:
    """Raise a UsageError if something is at the path to which a program is to be written."""
    if isinstance(problem.settings.command.program, str):
        require_new(path)
        return
    is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if path.is_symlink() or not is_free:
        raise UsageError(f"{path} exists already", remedy="Name a new folder, or remove this one first.")


def _contents(problem: Problem, body: str) -> dict[str, bytes]:
    """Return the content of each file by its path; refuse hidden ones, which only a run that was tampered with has."""
    contents = {file.path: file.content for file in problem.files}
    program = problem.specification.program(body)
    contents |= {name: text.encode("utf-8", "surrogatepass") for name, text in program.files}
    for name in contents:
        if is_hidden(PurePath(name)):
            raise UsageError(f"the run has a hidden file {name!r}; nothing was written", remedy=HIDDEN_REMEDY)
    return contents
