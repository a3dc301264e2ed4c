"""`overnight replay`: a run again, without a model, and whether it comes out alike."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.options import TrustSettings
from flows.cli.printing import DEFAULT_HISTORY, History, history_to_read, say, score, write_text
from schemas.errors import ExitCode

if TYPE_CHECKING:
    from flows.replay import RecordedRun
    from flows.session import Session
    from tasks.history.differences import Comparison, Difference

_SHOWN = 60
"""Characters of a value that are shown."""


def replay(
    run: Annotated[str, Parameter(help="a run id, a unique prefix of one, or `last`")],
    /,
    *,
    into: Annotated[
        Path | None,
        Parameter(
            help="another history, which gets the repeated run; by default it is thrown away", converter=history_to_read
        ),
    ] = None,
    trust_settings: TrustSettings = False,
    history: History = DEFAULT_HISTORY,
) -> int:
    """Repeat a run from its recorded completions, without a model, and say whether its history comes out the same."""
    from tasks.history.files import find_run
    from tasks.history.remote.mirror import place_of

    files = find_run(history, run)
    from flows.replay import read_recorded_run
    from flows.trust import accept_sandbox

    then = read_recorded_run(files)
    accept_sandbox(then.run.problem, trust=trust_settings)
    place = into or Path(tempfile.mkdtemp(prefix="overnight-replay-"))
    keeps = into is not None
    try:
        is_same = _replay(then, place)
        keeps = keeps or not is_same
    finally:
        if not keeps:
            shutil.rmtree(place, ignore_errors=True)
    if keeps:
        say(f'kept     overnight sql --history {shlex.quote(place_of(place))} "FROM generations"')
    return ExitCode.DONE if is_same else ExitCode.FAILED


def _replay(then: RecordedRun, place: Path) -> bool:
    from flows.cli.live_view import live_view
    from flows.replay import open_replay, replay
    from flows.stop_conditions import StopConditions

    with open_replay(then, place) as session:
        say(f"replaying {then.run.run_id}, seed {then.run.seed}: {len(then.past.steps)} generations")
        with live_view(session, StopConditions(generations=len(then.past.steps) or None)):
            found = replay(then, session)
        _tell(then, session, found)
    return found.first is None


def _tell(then: RecordedRun, session: Session, found: Comparison) -> None:
    told = f"{then.run.run_id}: {found.generations} generations, {found.programs} programs, without a model:"
    if found.first is None:
        _print(f"{told} the same history")
        return
    from flows.replay import likely_causes

    _print(f"{told} not the same")
    _print(
        f"differ   {found.differing_generations} generations, {found.differing_programs} programs; what follows on the "
        "first may follow from it"
    )
    _print(f"first    {_where(found.first)}")
    for line in _what(found.first):
        _print(f"         {line}")
    for cause in likely_causes(then, session, found.first):
        _print(f"likely   {cause}")


def _where(first: Difference) -> str:
    if first.table == "nights":
        return f"night {first.generation}"
    where = f"generation {first.generation}"
    if first.table == "programs":
        return f"{where}, program {first.row['program_id']} (candidate {first.row['index']})"
    return f"{where}, table {first.table}"


def _what(first: Difference) -> list[str]:
    if not first.recorded or not first.repeated:
        return ["it is not there this time" if first.recorded else "it was not there then"]
    names = first.recorded
    return [f"{name}: {_short(first.recorded[name])}, now {_short(first.repeated[name])}" for name in names]


def _short(value: Any) -> str:
    text = score(value) if isinstance(value, float) and score(value) == repr(value) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _print(text: str) -> None:
    write_text(text)
