"""What is shown at the end of a night: the table, the winning function, the commands to go on with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from flows.cli.printing import count, duration, history_flag, out, say, score, table, write_code
from schemas.generation import NightRecord, RunRecord
from schemas.program import Program
from tasks.history import record
from tasks.history.files import find_run


def print_summary(history: Path, run_id: str, night_number: int, *, spent: str) -> None:
    """Reads the night from its files and shows it, with what it has spent."""
    files = find_run(history, run_id)
    run, past = record.read_run(files), record.read_run_history(files)
    night = record.read_night(files, night_number, past.programs)
    best = past.programs[night.best_program_id]
    out().print(result_table(run, night, past.start))
    write_code(run.problem.specification.function_text(best.body))
    taken = duration((night.ended_at - night.started_at).total_seconds()) if night.ended_at else "unfinished"
    reason = night.stop_reason.value if night.stop_reason else "unknown"
    say(
        f"\nnight {night.number}: {count(night.generations, 'generation')}, {count(night.samples, 'sample')}, "
        f"{spent}, "
        f"{taken}; stopped by: {reason}"
    )
    if night.paused_by:
        say(f"paused for {duration(night.paused_s)}, the last time by: {night.paused_by}")
    if said := passed_over(best, past.programs.values()):
        say(said)
    if failed := night.winner_fails_on:
        say(f"the best program fails on the {' and '.join(failed)} inputs: it has no score there")
    if best.id == past.start.id:
        say("no better program than the start program yet")
    place = history_flag(history)
    say(
        f"\nread     overnight report {run_id}{place}\n"
        f"go on    overnight resume {run_id}{place}\n"
        f"look     overnight show {best.id}{place}\n"
        f"keep     overnight best {run_id} --write best.py{place}\n"
        f"""ask      overnight sql "FROM progress('{run_id}')"{place}"""
    )


def passed_over(best: Program, programs: Iterable[Program]) -> str:
    """That another program scores more on the training inputs, where one does; else empty."""
    highest = max(programs, key=lambda program: program.score)
    if highest.score <= best.score:
        return ""
    return (
        f"{highest.id} scores {score(highest.score)} on the training inputs, but the best program is the one "
        "that the validation inputs chose"
    )


def result_table(run: RunRecord, night: NightRecord, start: Program):  # noqa: ANN201  (rich is imported late)
    """Start, best and what is known, on each split."""
    settings = run.problem.settings
    by_id = {finalist.program.id: finalist for finalist in night.finalists}
    rows = []
    for label, program_id in (("start program", start.id), ("best program", night.best_program_id)):
        finalist = by_id.get(program_id)
        train = finalist.train if finalist else (start.score if program_id == start.id else night.best_after)
        failed = night.winner_fails_on if program_id == night.best_program_id else ()
        others = {"validation": finalist and finalist.validation, "held-out": finalist and finalist.held_out}
        cells = ["fails" if name in failed else score(value) for name, value in others.items()]
        rows.append((label, score(train), *cells, program_id))
    known = settings.known
    if known.honesty is not None:
        rows.append(("without a model", "", "", score(known.honesty), known.honesty_label))
    if known.best is not None:
        proven = ", proven" if known.proven else ""
        rows.append(("best known", "", "", score(known.best), f"{known.label}{proven} ({known.source}, {known.date})"))
    columns = ("", "train", "validation", "held-out", "which")
    title = f"{settings.title or run.problem.name}: {settings.score_name}"
    return table(columns, rows, right=("train", "validation", "held-out"), title=title)
