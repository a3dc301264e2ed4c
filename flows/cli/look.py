"""`overnight problems`, `runs`, `best`, `show`: looking at what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from flows.cli.text import DEFAULT_HISTORY, History, out, printable, say, score, table, usd
from schemas.errors import UsageError


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
        rows.append((name, settings.title, score(known.honesty), score(known.best), known.label, score(own.get(name))))
    columns = ("problem", "title", "without a model", "best known", "by", "your best (train)")
    out().print(table(columns, rows, right=("without a model", "best known", "your best (train)")))
    say("start one: overnight run NAME; higher scores are better")


def runs(*, history: History = DEFAULT_HISTORY) -> None:
    """The runs in the history, newest first."""
    from tasks.history.database import Database

    found = Database(history).rows("FROM runs ORDER BY started_at DESC")
    if not found:
        say(f"no run in {history} yet; start one: overnight run bin-packing-or")
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
    out().print(table(columns, rows, right=columns[2:]))


def best(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    write: Annotated[Path | None, Parameter(help="write the specification with the best body to this file")] = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """The best program of a run: chosen on validation at the end of its last night, where there are such inputs."""
    from tasks.history import record
    from tasks.history.files import find_run

    files = find_run(history, run)
    past, specification = record.read_past(files), record.read_run(files).problem.specification
    night = record.last_finished_night(files, past.programs)
    program = max(past.programs.values(), key=lambda program: program.score)
    if night is not None and night.best_program_id in past.programs and night.best_after >= program.score:
        program = past.programs[night.best_program_id]
    if write is not None:
        _write_new(write, specification.with_body(program.body))
        say(f"wrote {write}: program {program.id}, score {score(program.score)} on the training inputs")
        return
    say(f"program {program.id}, score {score(program.score)} on the training inputs")
    out().print(printable(specification.function_text(program.body)), markup=False, soft_wrap=True)


def show(
    program: Annotated[str, Parameter(help="a program id or a unique prefix of one")],
    /,
    *,
    prompt: Annotated[bool, Parameter(help="show what the model was sent and what it answered, too")] = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """One program: what it scored, where it comes from, its code."""
    row = find_program(history, program)
    facts = [(name, _cell(row[name])) for name in _FACTS if row[name] not in (None, "", [])]
    out().print(table(("program", row["program_id"]), facts))
    out().print(printable(row["body"] or "(no program in the completion)"), markup=False, soft_wrap=True)
    if prompt:
        for part in ("prompt", "completion"):
            out().rule(part)
            out().print(printable(row[part]), markup=False, soft_wrap=True)


_FACTS = (
    "run_id", "generation", "island", "parent_ids", "model", "outcome", "error", "score", "scores",
    "confirmed_score", "wall_s", "cpu_s",
    "peak_mib", "tokens_in", "tokens_out", "cost_usd", "latency_s", "asked_at", "output",
)  # fmt: skip


def find_program(history: Path, program: str) -> dict[str, Any]:
    """The row of a program by its id or a unique prefix.

    Raises:
        UsageError: If there is none, or more than one.
    """
    from tasks.history.database import Database

    found = Database(history).rows("FROM programs WHERE starts_with(program_id, ?) LIMIT 5", [program])
    exact = [row for row in found if row["program_id"] == program]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise UsageError(
            f"no program {program!r} in {history}",
            remedy="""Their ids: overnight sql "SELECT program_id, score FROM programs ORDER BY score DESC" """,
        )
    raise UsageError(f"{program!r} fits several programs", remedy="Give a longer prefix.")


def _cell(value: Any) -> str:
    match value:
        case float():
            return score(value)
        case list():
            return ", ".join(_cell(part) for part in value)
        case _:
            return printable(str(value))


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as handle:
            handle.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} exists already", remedy="Name another file, or remove it first.") from error
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
