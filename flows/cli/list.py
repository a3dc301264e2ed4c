"""`overnight problems`, `runs`, `best`: looking at what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.options import TrustSettings
from flows.cli.printing import (
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
    from collections.abc import Sequence

    from schemas.generation import NightRecord, RunHistory, RunRecord
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
    from tasks.history.remote.mirror import place_of

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
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """The best program of a run: chosen on validation at the end of its last night, where there are such inputs."""
    from flows.cli.summary import passed_over
    from flows.trust import accept_sandbox
    from tasks.history import record
    from tasks.history.files import find_run

    files = find_run(history, run)
    known, past = record.read_run(files), record.read_run_history(files)
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
        accept_sandbox(known.problem, trust=trust_settings)
        program = _first_that_scores(known, [program, *_others(known, past, final, program)])
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


def _others(run: RunRecord, past: RunHistory, final: NightRecord | None, program: Program) -> list[Program]:
    """Return the programs to try where the best one fails: the other finalists, best first.

    Args:
        run: Says how many finalists there are.
        past: All programs of the run.
        final: The night that chose the best one; without it, the next best on the training inputs are tried.
        program: The best one.
    """
    if final is not None:
        return [one.program for one in final.finalists if one.program.id != program.id]
    by_signature = {one.scores: one for one in sorted(past.programs.values(), key=lambda one: one.score)}
    ranked = sorted(by_signature.values(), key=lambda one: one.score, reverse=True)
    return [one for one in ranked if one.scores != program.scores][: run.problem.settings.finalists - 1]


def _first_that_scores(run: RunRecord, programs: Sequence[Program]) -> Program:
    """Run programs on the held-out inputs, or on what there is, until one has a score, and return it.

    Raises:
        OvernightError: If none has.
    """
    inputs = run.problem.inputs
    split: Split = "held_out" if inputs["held_out"] else "validation" if inputs["validation"] else "train"
    name = {"held_out": "held-out", "train": "training"}.get(split, split)
    for number, program in enumerate(programs):
        found = _score_now(run, split, program)
        if found is not None:
            which = f"; the next finalist, program {program.id}," if number else ":"
            say(f"run once more{which} {'scores ' * (number > 0)}{score(found)} on the {name} inputs")
            return program
        say(f"program {program.id} gets no score on the {name} inputs")
    raise OvernightError(
        f"none of the {len(programs)} best programs gets a score on the {name} inputs now, and nothing is written",
        remedy="`overnight doctor` looks at the sandbox; --unchecked writes the best program all the same.",
    )


def _score_now(run: RunRecord, split: Split, program: Program) -> float | None:
    from flows.final_evaluation import scores_on

    isolation = run.problem.settings.sandbox.confirm != "never" or None
    return scores_on(run, split, [program], isolation=isolation).get(program.id)
