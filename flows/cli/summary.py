"""Print the summary at the end of a night: the result table, the best function and the next commands."""

from __future__ import annotations

from collections.abc import Iterable

from flows.cli.printing import count, duration, history_flag, out, say, score, table, write_code
from schemas.generation import NightRecord, RunRecord
from schemas.history_backend import HistoryBackend
from schemas.program import Program
from tasks.history import record
from tasks.history.files import find_run
from tasks.report.number_format import gain_of


def print_summary(
    history: HistoryBackend, run_id: str, night_number: int, *, spent: str, leaves_stdout: bool = False
) -> None:
    """Read a night from its files and print its summary.

    Args:
        history: The run's history.
        run_id: Id of the run.
        night_number: Number of the night.
        spent: Text about cost and tokens.
        leaves_stdout: Whether to leave out the table and the code, which are data on stdout.
    """
    files = find_run(history, run_id)
    run, past = record.read_run(files), record.read_run_history(files)
    night = record.read_night(files, night_number, past.programs)
    best = past.programs[night.best_program_id]
    if not leaves_stdout:
        out().print(result_table(run, night, past.start))
        write_code(run.problem.specification.function_text(best.body))
    elapsed = duration((night.ended_at - night.started_at).total_seconds()) if night.ended_at else "unfinished"
    reason = night.stop_reason.value if night.stop_reason else "unknown"
    say(
        f"\nnight {night.number}: {count(night.generations, 'generation')}, {count(night.samples, 'sample')}, "
        f"{spent}, {elapsed}; stopped by: {reason}"
    )
    if night.warning:
        say(f"warning: {night.warning}")
    if night.paused_by:
        say(f"paused for {duration(night.paused_s)}; last reason: {night.paused_by}")
    if note := validation_note(best, past.programs.values()):
        say(note)
    if failed := night.winner_fails_on:
        say(f"the best program fails on the {' and '.join(failed)} inputs and has no score there")
    if best.id == past.start.id:
        say("no program is better than the start program yet")
    flag = history_flag(history)
    picture = f"picture   overnight best {run_id} --write best.svg{flag}\n" if run.problem.draws else ""
    say(
        f"\nreport    overnight report {run_id}{flag}\n"
        f"continue  overnight resume {run_id}{flag}\n"
        f"show      overnight show {best.id}{flag}\n"
        f"save      overnight best {run_id} --write best.py{flag}\n{picture}"
        f"""query     overnight sql "FROM progress('{run_id}')"{flag}"""
    )


def validation_note(best: Program, programs: Iterable[Program]) -> str:
    """Return a note if another program has a higher training score than the chosen one; otherwise an empty text."""
    highest = max(programs, key=lambda program: program.score)
    if gain_of(best.score, highest.score) <= 0:
        return ""
    return (
        f"{highest.id} scores {score(highest.score)} on the training inputs, but the best program is chosen by its "
        "score on the validation inputs"
    )


def result_table(run: RunRecord, night: NightRecord, start: Program):  # noqa: ANN201  (rich is imported late)
    """Return the table of scores on each split: start program, best program and known results."""
    settings = run.problem.settings
    by_id = {finalist.program.id: finalist for finalist in night.finalists}
    rows = []
    for label, program_id in (("start program", start.id), ("best program", night.best_program_id)):
        finalist = by_id.get(program_id)
        train = finalist.train if finalist else (start.score if program_id == start.id else night.best_after)
        failed = night.winner_fails_on if program_id == night.best_program_id else ()
        other_splits = {"validation": finalist and finalist.validation, "held-out": finalist and finalist.held_out}
        cells = ["fails" if name in failed else score(value) for name, value in other_splits.items()]
        rows.append((label, score(train), *cells, program_id))
    known = settings.known
    if known.honesty is not None:
        held_out = "" if known.honesty_held_out is None else score(known.honesty_held_out)
        rows.append(("without a model", score(known.honesty), "", held_out, known.honesty_label))
    if known.best is not None:
        proven = ", proven" if known.proven else ""
        rows.append(("best known", "", "", score(known.best), f"{known.label}{proven} ({known.source}, {known.date})"))
    columns = ("", "train", "validation", "held-out", "program or source")
    title = f"{settings.title or run.problem.name}: {settings.score_name}"
    return table(columns, rows, right=("train", "validation", "held-out"), title=title)
