"""`overnight problems`, `runs`, `best`: looking at what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.text import (
    DEFAULT_HISTORY,
    History,
    out,
    say,
    score,
    table,
    usd,
    warn_of_misreading,
    write_code,
    write_new,
)
from schemas.errors import OvernightError

if TYPE_CHECKING:
    from schemas.generation import NightRecord, RunRecord
    from schemas.problem import Split
    from schemas.program import Program


def problems(*, history: History = DEFAULT_HISTORY) -> None:
    """The built-in problems with what is known of them, and your own best from the history."""
    from schemas.problem import load_problem
    from tasks.history.database import Database
    from tasks.problems import find, names

    own = {
        row["problem"]: row["best"]
        for row in Database(history).rows("SELECT problem, max(best_score) AS best FROM runs GROUP BY problem")
    }
    rows = []
    for name in names():
        settings = load_problem(find(name)).settings
        known = settings.known
        numbers = (score(known.start), score(known.honesty), f"{score(known.best)}{'!' * known.proven}")
        rows.append((name, settings.title, *numbers, known.label, score(own.get(name))))
    columns = ("problem", "title", "start", "without a model", "best known", "by", "your best (train)")
    right = ("start", "without a model", "best known", "your best (train)")
    out().print(table(columns, rows, right=right, spare=("by", "title", "start", "without a model")))
    say("start one: overnight run NAME; higher scores are better; ! is proven")


def runs(*, history: History = DEFAULT_HISTORY) -> None:
    """The runs in the history, newest first."""
    from tasks.history.database import Database
    from tasks.history.mirror import place_of

    found = Database(history).rows("FROM runs ORDER BY started_at DESC")
    if not found:
        say(f"no run in {place_of(history)} yet; start one: overnight run bin-packing-or")
        return
    rows = [
        (
            run["run_id"],
            f"{run['started_at']:%Y-%m-%d %H:%M}",
            str(run["generations"]),
            str(run["samples"] or 0),
            score(run["start_score"]),
            score(run["best_score"]),
            usd(run["cost_usd"] or 0.0),
        )
        for run in found
    ]
    columns = ("run", "started (UTC)", "generations", "samples", "start", "best", "cost")
    out().print(table(columns, rows, right=columns[2:], spare=("start", "started (UTC)", "generations", "cost")))


def best(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    write: Annotated[
        Path | None, Parameter(help="run it once more, then write the specification with it to this file")
    ] = None,
    unchecked: Annotated[bool, Parameter(help="write it without running it")] = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """The best program of a run: chosen on validation at the end of its last night, where there are such inputs."""
    from flows.cli.summary import passed_over
    from tasks.history import record
    from tasks.history.files import find_run

    files = find_run(history, run)
    known, past = record.read_run(files), record.read_past(files)
    specification = known.problem.specification
    night = record.last_finished_night(files, past.programs)
    program = max(past.programs.values(), key=lambda program: program.score)
    final: NightRecord | None = None
    if night is not None and night.best_program_id in past.programs and night.best_after >= program.score:
        program, final = past.programs[night.best_program_id], night
    say(f"program {program.id}, {_scores(program, final)}")
    if said := passed_over(program, past.programs.values()):
        say(said)
    if write is None:
        write_code(specification.function_text(program.body))
        return
    if not unchecked:
        _check_again(known, program)
    write_new(write, specification.with_body(program.body))
    say(f"wrote {write}")
    warn_of_misreading(specification.function_text(program.body))


def _scores(program: Program, night: NightRecord | None) -> str:
    told = [f"score {score(program.score)} on the training inputs"]
    if night is not None:
        finals = (one for one in night.finalists if one.program.id == program.id)
        others = [pair for one in finals for pair in (("validation", one.validation), ("held-out", one.held_out))]
        told += [f"{score(value)} on the {name} inputs" for name, value in others if value is not None]
        told += [f"none on the {name} inputs, where it fails" for name in night.winner_fails_on]
    return ", ".join(told)


def _check_again(run: RunRecord, program: Program) -> None:
    """Runs the program on held-out inputs, or on what there is.

    Raises:
        OvernightError: If it has no score.
    """
    from flows.final import scores_on

    inputs = run.problem.inputs
    split: Split = "held_out" if inputs["held_out"] else "validation" if inputs["validation"] else "train"
    apart = run.problem.settings.sandbox.confirm != "never" or None
    found = scores_on(run, split, [program], apart=apart).get(program.id)
    name = {"held_out": "held-out", "train": "training"}.get(split, split)
    if found is None:
        raise OvernightError(
            f"program {program.id} gets no score on the {name} inputs now, and is not written",
            remedy="`overnight doctor` looks at the sandbox; --unchecked writes the program all the same.",
        )
    say(f"run once more: {score(found)} on the {name} inputs")
