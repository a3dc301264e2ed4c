"""`overnight replay` and `rescore`: evaluate the programs of a run again, as they were or under a changed problem."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from overnight.flows.cli import options
from overnight.flows.cli.live_view import live_view
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    duration,
    history_flag,
    history_to_read,
    out,
    say,
    score,
    table,
    write_text,
)
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.origin import problem_path
from overnight.flows.start.recorded_night import change_since
from overnight.flows.start.sandboxes import image_of
from overnight.flows.start.trust import accept, accept_sandbox, trusted_run
from overnight.schemas.errors import ExitCode, UsageError
from overnight.schemas.generation import RunRecord
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.stored_problem import reload_problem, with_overrides

if TYPE_CHECKING:
    from overnight.flows.night.open_run import OpenRun
    from overnight.flows.night.recorded_run import RecordedRun
    from overnight.flows.night.rescore import Rescored
    from overnight.tasks.history.differences import Comparison, Difference

_VALUE_WIDTH = 60
"""Characters of a value that are shown."""

_ROWS_SHOWN = 20

_LONG_S = 20.0
"""Seconds of evaluations from which on a replay says how long it takes."""

_PROGRESS_INTERVAL = 100
"""Number of evaluated programs between two progress messages."""


def replay(
    run: options.RunId,
    /,
    *,
    into: Annotated[HistoryBackend | None, Parameter(converter=history_to_read, n_tokens=1, metavar="PLACE")] = None,
    trust_settings: options.TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Repeat a run from its recorded completions, without a model, and print whether the history is the same.

    Args:
        into: another history to keep the repeated run in; by default it is deleted
    """
    from overnight.tasks.history.find_run import find_run

    files = find_run(history, run)
    from overnight.flows.night.recorded_run import read_recorded_run

    recorded = read_recorded_run(files)
    accept_sandbox(recorded.run.problem, trust=trust_settings)
    recorded = replace(recorded, run=trusted_run(recorded.run, trust=trust_settings))
    if change := change_since(recorded.run, history_flag(history)):
        say(f"note: {change}")
    target = into or LocalBackend(Path(tempfile.mkdtemp(prefix="overnight-replay-")))
    keeps = into is not None
    try:
        is_same = _replay(recorded, target)
        keeps = keeps or not is_same
    finally:
        if not keeps:
            shutil.rmtree(target.root, ignore_errors=True)
    if keeps:
        say(f'kept     overnight sql --history {shlex.quote(target.location)} "FROM generations"')
    return ExitCode.DONE if is_same else ExitCode.FAILED


def _replay(recorded: RecordedRun, target: HistoryBackend) -> bool:
    from overnight.flows.night.replay import open_replay, replay

    generations = len(recorded.ends) - 1
    with open_replay(recorded, target) as run:
        takes = takes_in_words(recorded.cpu_s / run.slots)
        say(f"replaying {recorded.run.run_id}, seed {recorded.run.seed}: {generations} generations{takes}")
        with live_view(run, StopConditions(generations=generations or None)):
            comparison = replay(recorded, run)
        _print_comparison(recorded, run, comparison)
    return comparison.first is None


def takes_in_words(seconds: float) -> str:
    """Return how long the evaluations of a replay take at least, in words; empty if that is soon over."""
    if seconds < _LONG_S:
        return ""
    return f"; all programs are evaluated again, which by the recorded processor time takes {duration(seconds)} or more"


def _print_comparison(recorded: RecordedRun, run: OpenRun, comparison: Comparison) -> None:
    size = f"the start and {comparison.generations - 1} generations, {comparison.programs} programs"
    heading = f"{recorded.run.run_id}: {size}, without a model:"
    first = comparison.first
    if first is None:
        write_text(f"{heading} the same history")
        _print_decided_by_time(comparison)
        return
    from overnight.flows.night.replay import likely_causes

    write_text(f"{heading} not the same history")
    write_text(
        f"differ   {comparison.differing_generations} generations, {comparison.differing_programs} programs; "
        "differences after the first may result from it"
    )
    write_text(f"first    {_location(first)}")
    for line in _changes(first):
        write_text(f"         {line}")
    for cause in likely_causes(recorded, run, first):
        write_text(f"likely   {cause}")
    _print_decided_by_time(comparison)


def _print_decided_by_time(comparison: Comparison) -> None:
    """Say how many verdicts were not repeated, if any, and whether the best program's is one."""
    if verdicts := comparison.decided_by_time:
        which = "1 verdict is" if verdicts == 1 else f"{verdicts} verdicts are"
        write_text(
            f"time     {which} taken from the record: a limit of seconds, a deadline or a fault of the sandbox "
            "decided, then or now"
        )
    if comparison.best_by_time:
        write_text(f"best     the score of the best program, {comparison.best_by_time}, is one of these: not repeated")


def _location(difference: Difference) -> str:
    if difference.table == "nights":
        return f"night {difference.generation}"
    generation = f"generation {difference.generation}"
    if difference.table == "programs":
        return f"{generation}, program {difference.row['program_id']} (candidate {difference.row['index']})"
    return f"{generation}, table {difference.table}"


def _changes(difference: Difference) -> list[str]:
    """Return a line for each column whose value differs, or one line for a row that only one history has."""
    recorded, repeated = difference.recorded, difference.repeated
    if not repeated:
        return ["this row is only in the recorded history"]
    if not recorded:
        return ["this row is only in the repeated history"]
    changed = {name: (_text(recorded[name]), _text(repeated[name])) for name in recorded}
    return [f"{name}: {_part(*texts)}, now {_part(*reversed(texts))}" for name, texts in changed.items()]


def _text(value: Any) -> str:
    return score(value) if isinstance(value, float) and score(value) == repr(value) else repr(value)


def _part(text: str, other: str) -> str:
    """Return a part of a text that has the first place where it differs from another one."""
    alike = next((place for place, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), 0)
    first = max(0, alike - _VALUE_WIDTH // 3) if alike > _VALUE_WIDTH // 2 else 0
    part = text[first : first + _VALUE_WIDTH]
    return f"{'…' * (first > 0)}{part}{'…' * (first + _VALUE_WIDTH < len(text))}"


def rescore(
    run: options.RunId,
    problem: str | None = None,
    /,
    *,
    inputs: options.Inputs = None,
    set: options.Sets = None,  # noqa: A002
    confirm: options.Confirm = None,
    most: int = 500,
    seed: Annotated[int | None, Parameter(validator=options.require_int64)] = None,
    trust_settings: options.TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Score the survivors of a run again, as the first generation of a new run; the old run is not changed.

    Args:
        problem: the changed specification; default: the run's own
        most: highest number of programs; taken from the niches in turn, best first
        seed: seed of the new run; default: the old run's
    """
    from overnight.tasks.history import stored_run
    from overnight.tasks.history.find_run import find_run

    if most < 1:
        raise UsageError(f"--most: expected 1 or more, got {most}")
    files = find_run(history, run)
    given = options.RunOptions(inputs=inputs, set=set, confirm=confirm).settings()
    old = trusted_run(stored_run.read_run(files), trust=trust_settings)
    changed, path = _changed_problem(old, problem, given)
    changed = accept(changed, given, trust=trust_settings)
    image_of(changed, say)
    from overnight.flows.night.rescore import rescore as rescore_run

    rescored = rescore_run(files, changed, path, history, seed=seed, most=most, report=_progress_counter())
    _print_result(rescored, files.run_id, history)
    if changed.settings.state == "none" and any(
        new.verdict.outcome is Outcome.UNCONFIRMED for _, new in rescored.pairs
    ):
        say(
            "a program that keeps something from one call to the next is unconfirmed, or too slow in a confirmation; "
            "where that is allowed: --set state=calls"
        )


def _changed_problem(run: RunRecord, name: str | None, given: dict[str, Any]) -> tuple[Problem, Path]:
    """Return the changed problem and the path of its specification."""
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
