"""`overnight replay`: repeat a run without a model and compare the histories."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.options import RunId, TrustSettings
from flows.cli.printing import DEFAULT_HISTORY, History, history_to_read, say, score, write_text
from schemas.errors import ExitCode
from schemas.history_backend import HistoryBackend
from tasks.history.local_backend import LocalBackend

if TYPE_CHECKING:
    from flows.night.open_run import OpenRun
    from flows.night.replay import RecordedRun
    from tasks.history.differences import Comparison, Difference

_VALUE_WIDTH = 60
"""Characters of a value that are shown."""


def replay(
    run: RunId,
    /,
    *,
    into: Annotated[
        HistoryBackend | None,
        Parameter(
            help="another history to keep the repeated run in; by default it is deleted",
            converter=history_to_read,
            n_tokens=1,
            metavar="PLACE",
        ),
    ] = None,
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Repeat a run from its recorded completions, without a model, and print whether the history is the same."""
    from tasks.history import record
    from tasks.history.files import find_run

    files = find_run(history, run)
    record.require_present_format(files)
    from flows.night.replay import read_recorded_run
    from flows.start.trust import accept_sandbox

    recorded = read_recorded_run(files)
    accept_sandbox(recorded.run.problem, trust=trust_settings)
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
    """Repeat a run into a history, print the comparison, and return whether the histories are the same."""
    from flows.cli.live_view import live_view
    from flows.night.replay import open_replay, replay
    from flows.night.stop_conditions import StopConditions

    generations = len(recorded.past.steps)
    with open_replay(recorded, target) as run:
        say(f"replaying {recorded.run.run_id}, seed {recorded.run.seed}: {generations} generations")
        with live_view(run, StopConditions(generations=generations or None)):
            comparison = replay(recorded, run)
        _print_comparison(recorded, run, comparison)
    return comparison.first is None


def _print_comparison(recorded: RecordedRun, run: OpenRun, comparison: Comparison) -> None:
    size = f"{comparison.generations} generations, {comparison.programs} programs"
    heading = f"{recorded.run.run_id}: {size}, without a model:"
    first = comparison.first
    if first is None:
        write_text(f"{heading} the same history")
        return
    from flows.night.replay import likely_causes

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


def _location(difference: Difference) -> str:
    """Return the night, generation, program or table of a difference, as text."""
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
    return [f"{name}: {_short(recorded[name])}, now {_short(repeated[name])}" for name in recorded]


def _short(value: Any) -> str:
    """Return a value as text of limited length."""
    text = score(value) if isinstance(value, float) and score(value) == repr(value) else repr(value)
    return text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]}…"
