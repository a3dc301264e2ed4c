"""`overnight rescore`: score the survivors of a run under a changed specification, other inputs or settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.options import Confirm, Inputs, RunId, Sets, TrustSettings, overrides, require_int64
from flows.cli.printing import DEFAULT_HISTORY, History, history_flag, out, say, score, table
from schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.night.rescore import Rescored
    from schemas.generation import RunRecord
    from schemas.history_backend import HistoryBackend
    from schemas.problem import Problem

_ROWS_SHOWN = 20
_PROGRESS_INTERVAL = 100
"""Number of evaluated programs between two progress messages."""


def rescore(
    run: RunId,
    problem: Annotated[str | None, Parameter(help="the changed specification; default: the run's own")] = None,
    /,
    *,
    inputs: Inputs = None,
    set: Sets = None,  # noqa: A002
    confirm: Confirm = None,
    most: Annotated[int, Parameter(help="highest number of programs; taken from the niches in turn, best first")] = 500,
    seed: Annotated[
        int | None, Parameter(help="seed of the new run; default: the old run's", validator=require_int64)
    ] = None,
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Score the survivors of a run again, as the first generation of a new run; the old run is not changed."""
    from flows.start.sandboxes import image_of
    from flows.start.trust import accept
    from tasks.history import record
    from tasks.history.files import find_run

    if most < 1:
        raise UsageError(f"--most: expected 1 or more, got {most}")
    files = find_run(history, run)
    given = overrides(None, None, None, inputs, set, confirm=confirm)
    changed, path = _changed_problem(record.read_run(files), problem, given)
    accept(changed, given, trust=trust_settings)
    image_of(changed, say)
    from flows.night.rescore import rescore as rescore_run

    rescored = rescore_run(files, changed, path, history, seed=seed, most=most, report=_progress_counter())
    _print_result(rescored, files.run_id, history)


def _changed_problem(run: RunRecord, name: str | None, given: dict[str, Any]) -> tuple[Problem, Path]:
    """Return the changed problem and the path of its specification."""
    from flows.start.origin import problem_path
    from tasks.problems import find
    from tasks.problems.loading.stored_problem import reload_problem, with_overrides

    if name is None:
        path = problem_path(run)
        return with_overrides(run.problem, path, given), path
    path = find(name)
    return reload_problem(path, run.problem, given), path


def _progress_counter() -> Callable[[object], None]:
    """Return a callback for each evaluated program that prints a message now and then."""
    evaluated = 0

    def count(_: object) -> None:
        nonlocal evaluated
        evaluated += 1
        if evaluated % _PROGRESS_INTERVAL == 0:
            say(f"{evaluated} programs evaluated")

    return count


def _print_result(rescored: Rescored, old_run: str, history: HistoryBackend) -> None:
    """Print the table of old and new scores, the new run, and the commands that continue it."""
    pairs = rescored.pairs
    ranked = sorted(pairs, key=lambda pair: (pair[1].score is not None, pair[1].score or 0.0), reverse=True)
    old_ranks = {old.id: rank for rank, (old, _) in enumerate(pairs, start=1)}
    rows = [
        (
            str(rank),
            str(old_ranks[old.id]),
            new.id,
            old.id,
            score(new.score),
            score(old.score),
            new.verdict.outcome.value,
        )
        for rank, (old, new) in enumerate(ranked[:_ROWS_SHOWN], start=1)
    ]
    columns = ("rank", "old rank", "program", "old program", "score", "old score", "outcome")
    out().print(table(columns, rows, right=("rank", "old rank", "score", "old score")))
    run_id, scored = rescored.files.run_id, sum(new.score is not None for _, new in pairs)
    total = f" of {rescored.kept} survivors of {old_run} (--most N for more)" if rescored.kept > len(pairs) else ""
    start = f"the start program scores {score(rescored.start.score)}"
    say(f"{run_id}: {len(pairs)} programs{total}, {scored} scored; {start}")
    flag = history_flag(history)
    say(f"continue  overnight resume {run_id}{flag}\nbest      overnight best {run_id}{flag}")
