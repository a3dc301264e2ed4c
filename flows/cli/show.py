"""`overnight show`: show one program: its code, what it changed, its ancestors, and why it was kept or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    in_pages,
    out,
    say,
    score,
    table,
    warn_if_misleading,
    write_code,
    write_json,
    write_text,
)
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.report.code_view import unified_diff
from overnight.tasks.report.conversation import as_text, read_conversation

if TYPE_CHECKING:
    from overnight.tasks.history.database import Database

_FACTS = (
    "run_id", "generation", "niche", "parent_ids", "model", "outcome", "error", "score", "scores",
    "confirmed_score", "metrics", "confirmed_metrics", "wall_s", "cpu_s",
    "peak_mib", "tokens_in", "tokens_cached", "tokens_out", "cost_usd", "latency_s", "asked_at", "output",
)  # fmt: skip


def show(
    program: str = "",
    other: str | None = None,
    /,
    *,
    prompt: bool = False,
    diff: bool = False,
    lineage: bool = False,
    why: bool = False,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """Show one program: its scores, parents, cost and code; or, in place of these, one of the views below.

    Args:
        program: a program id or a unique prefix of one; by default, or as `last`, the best program of
            the newest run
        other: a newer program, for --diff
        prompt: also show the prompt and the completion, in pages on a terminal (PAGER, or less)
        diff: show what it changed of its better parent, or OTHER of it; with --lineage, what each step did
        lineage: show its ancestors, from the start program on, each the most similar parent of the next
        why: explain in words why it was kept or dropped
    """
    from overnight.tasks.history.database import Database

    given = [name for name, is_given in (("--prompt", prompt), ("--lineage", lineage), ("--why", why)) if is_given]
    if len(given) > 1 or (diff and given not in ([], ["--lineage"])):
        raise UsageError(
            f"expected one view of a program, got {' and '.join([*given, *(['--diff'] if diff else [])])}",
            remedy="Ask for one after the other; --lineage --diff shows what each step changed.",
        )
    if other is not None and (given or not diff):
        raise UsageError("two programs are compared by --diff", remedy=f"overnight show {program} {other} --diff")
    database = Database(history.root)
    row = find_program(database, _best_of_last(history) if program in ("", "last") else program)
    as_json = format == "json"
    if why:
        _show_why(database, row, as_json=as_json)
    elif lineage:
        _show_lineage(history, database, row, diffs=diff, as_json=as_json)
    elif diff:
        rows = [row, find_program(database, other)] if other else [_better_parent(database, row), row]
        _show_diff(history, rows, as_json=as_json)
    elif as_json or not prompt:
        _show_program(history, row, prompt=prompt, as_json=as_json)
    else:
        with in_pages():
            _show_program(history, row, prompt=True, as_json=False)


def _best_of_last(history: HistoryBackend) -> str:
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.history.winners import best_program

    files = find_run(history, "last")
    best, _ = best_program(files, stored_run.read_run_history(files))
    return best.id


def _show_program(history: HistoryBackend, row: dict[str, Any], *, prompt: bool, as_json: bool) -> None:
    if as_json:
        left_out = () if prompt else ("prompt", "completion", "transcript")
        beside = {name: dict(row[name] or ()) for name in ("metrics", "metrics_by_input", "confirmed_metrics")}
        code = {"code": _function(history, row)}
        write_json({name: value for name, value in row.items() if name not in left_out} | beside | code)
        return
    facts = [(name, _cell(row[name])) for name in _FACTS if row[name] not in (None, "", [])]
    if row["cost_usd"] is None:
        facts.append(("cost_usd", "unknown"))
    out().print(table(("program", row["program_id"]), facts))
    for number, text in enumerate(row["notes"] or (), start=1):
        if text:
            write_text(f"note on input {number}: {text}")
    write_code(_function(history, row) or "(no program in the completion)")
    if prompt:
        for part in ("prompt", "completion"):
            write_text(f"── {part} ──")
            write_text(row[part])
        if row["transcript"]:
            write_text("── what the agent did ──")
            write_text(as_text(read_conversation(row["transcript"], row["prompt"])))


def _show_diff(history: HistoryBackend, rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    old, new = (f"{row['program_id']} score {score(row['score'])}" for row in rows)
    lines = unified_diff(_function(history, rows[0]), _function(history, rows[1]), old, new)
    if as_json:
        names = ("run_id", "program_id", "score")
        before, after = ({name: row[name] for name in names} for row in rows)
        write_json({"before": before, "after": after, "diff": "".join(f"{line}\n" for line in lines)})
        return
    if not lines:
        say("no difference")
    _print_diff(lines)
    warn_if_misleading(_function(history, rows[1]))


def _better_parent(database: Database, row: dict[str, Any]) -> dict[str, Any]:
    if not row["parent_ids"]:
        raise UsageError(
            f"{row['program_id']} has no parent",
            remedy=f"Name a second program: overnight show {row['program_id']} OTHER --diff",
        )
    return find_program(database, row["parent_ids"][-1])


def _show_lineage(
    history: HistoryBackend, database: Database, row: dict[str, Any], *, diffs: bool, as_json: bool
) -> None:
    from overnight.flows.report.lineage import line_to
    from overnight.flows.report.run_data import read_run_data
    from overnight.tasks.history.find_run import find_run

    steps = line_to(read_run_data(database, find_run(history, row["run_id"]), None), row["program_id"])
    if as_json:
        names = ("generation", "sample", "program_id", "score", "niche", "model", "function")
        write_json([{name: getattr(step, name) for name in names} for step in steps])
        return
    if not diffs:
        columns = ("generation", "sample", "program", "score", "niche", "model")
        rows = [(str(s.generation), str(s.sample), s.program_id, score(s.score), s.niche, s.model) for s in steps]
        out().print(table(columns, rows, right=("generation", "sample", "score")))
        return
    for before, after in pairwise(steps):
        old, new = (
            f"{step.program_id} generation {step.generation} score {score(step.score)}" for step in (before, after)
        )
        _print_diff(unified_diff(before.function, after.function, old, new))


def _show_why(database: Database, row: dict[str, Any], *, as_json: bool) -> None:
    from overnight.flows.report import explanation

    sentences = list(explanation.explain(database, row))
    if as_json:
        write_json(sentences)
        return
    for sentence in sentences:
        write_text(sentence)


def find_program(database: Database, program: str) -> dict[str, Any]:
    """Return the row of a program, given its id or a unique prefix; raise a UsageError if there is none, or several."""
    found = database.rows("FROM programs WHERE starts_with(program_id, ?) LIMIT 5", [program])
    exact = [row for row in found if row["program_id"] == program]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise UsageError(
            f"no program {program!r} in the history",
            remedy="`overnight best last` names the best program of the newest run; to list all programs: "
            'overnight sql "SELECT program_id, score FROM programs ORDER BY score DESC"',
        )
    raise UsageError(
        f"{program!r} matches several programs: {', '.join(row['program_id'] for row in found)}",
        remedy="Give a longer prefix.",
    )


def _function(history: HistoryBackend, row: dict[str, Any]) -> str:
    """Return the evolved function of a program; an empty text if the completion held none."""
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run

    skeleton = stored_run.read_run(find_run(history, row["run_id"])).problem.specification
    return skeleton.function_text(row["body"]) if row["body"] else ""


_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def _print_diff(lines: list[str]) -> None:
    for line in lines:
        write_text(line, _DIFF_STYLES.get(line[:1], ""))


def _cell(value: Any) -> str:
    match value:
        case float():
            return score(value)
        case (str(name), float(number)):
            return f"{name} {score(number)}"
        case list():
            return ", ".join(_cell(item) for item in value)
        case _:
            return str(value)
