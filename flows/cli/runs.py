"""`overnight runs`: list the runs in the history, or show the log of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    History,
    OutputFormat,
    history_flag,
    out,
    say,
    score,
    table,
    write_json,
    write_text,
)
from overnight.flows.formatting import cost
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import RUN_ID

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles

_LONG = ("settings", "specification", "files")
"""Columns that are left out: `overnight sql` has them."""

_RUNS = """
SELECT runs.*, (
    SELECT arg_max(CASE state WHEN 'ended' THEN stop_reason ELSE state END, night) FROM nights
    WHERE nights.run_id = runs.run_id
) AS last_night
FROM runs ORDER BY started_at DESC, run_id DESC
"""


def runs(
    run: str | None = None,
    /,
    *,
    night: int | None = None,
    format: OutputFormat = "text",  # noqa: A002
    history: History = DEFAULT_HISTORY,
) -> None:
    """List the runs in the history, newest first, with the scores of their best programs.

    A run's best program is the one that `overnight best` shows: chosen by the validation inputs, if there are any. With
    RUN, show what happened in its nights: start, generations, pauses, end, and why a scheduled night did not start.

    Args:
        run: show the log of this run's nights, or of one: --night
        night: number of the only night whose log is shown
    """
    if run is None:
        _list(format, history)
        _say_not_created(history)
        return
    from overnight.tasks.history.night_log import read_log

    lines = [(number, line) for number, line in read_log(_files(run, history)) if night in (None, number)]
    if format == "json":
        facts = [(number, *line.partition(" ")) for number, line in lines]
        write_json([{"night": number, "at": at, "text": text} for number, at, _, text in facts])
        return
    for number, line in lines:
        write_text(f"night {number}  {line}")
    if not lines:
        say("no log: this run had no night here")


def _files(run: str, history: HistoryBackend) -> RunFiles:
    """Return the files of a run, which may have no more than a log: none of its nights could start."""
    from overnight.tasks.history.files import files_of
    from overnight.tasks.history.find_run import find_run

    named = files_of(history, run)
    return named if RUN_ID.fullmatch(run) and named.night_logs() else find_run(history, run)


def _say_not_created(history: HistoryBackend) -> None:
    """Name the runs of schedules of which no night could start yet."""
    from overnight.tasks.history.atomic_files import RUNS
    from overnight.tasks.history.files import files_of
    from overnight.tasks.history.night_log import read_log

    for log in sorted((history.root / RUNS).glob("*/nights/*.log")):
        files = files_of(history, log.parts[-3])
        if not files.run.exists() and RUN_ID.fullmatch(files.run_id) and log == files.night_logs()[-1]:
            name, (_, last) = files.run_id, read_log(files)[-1]
            say(f"{name}: {last}; its log: overnight runs {name}{history_flag(history)}")


def _list(format: OutputFormat, history: HistoryBackend) -> None:  # noqa: A002
    from overnight.flows.cli.under_way import note
    from overnight.tasks.history.database import Database
    from overnight.tasks.history.files import files_of
    from overnight.tasks.history.under_way import read_under_way
    from overnight.tasks.history.winners import best_programs

    database = Database(history.root)
    found, best = database.rows(_RUNS), best_programs(database)
    open_now = {run["run_id"]: read_under_way(files_of(history, run["run_id"]), run["best_score"]) for run in found}
    if format == "json":
        facts = ({name: value for name, value in run.items() if name not in _LONG} for run in found)
        versions = {run["run_id"]: dict(run["versions"] or ()) for run in found}
        write_json(
            [
                run
                | {"versions": versions[run["run_id"]], "best": asdict(best[run["run_id"]])}
                | {"under_way": asdict(open_now[run["run_id"]])}
                for run in facts
            ]
        )
        return
    if not found:
        say(f"no run in {history.location} yet; start one: overnight run bin-packing-or{history_flag(history)}")
        return
    rows = [
        (
            run["run_id"],
            f"{run['started_at']:%Y-%m-%d %H:%M}",
            str(run["generations"] or 0),
            f"{run['samples'] or 0}{_more(open_now[run['run_id']].samples)}",
            score(run["start_score"]),
            score(best[run["run_id"]].train),
            score(best[run["run_id"]].held_out),
            cost(run["cost_usd"] or 0.0, is_partly_unknown=run["has_unknown_costs"]),
            run["last_night"] or "",
        )
        for run in found
    ]
    numbers = ("generations", "samples", "start (train)", "best (train)", "held-out", "cost")
    spare = ("start (train)", "started (UTC)", "generations", "cost", "held-out", "last night")
    out().print(table(("run", "started (UTC)", *numbers, "last night"), rows, right=numbers, spare=spare))
    for run_id, under_way in open_now.items():
        if text := note(files_of(history, run_id), under_way):
            say(text)
    if passed_over := [run["run_id"] for run in found if _is_passed_over(run["best_score"], best[run["run_id"]].train)]:
        say(
            f"{', '.join(passed_over)}: another program scores higher on the training inputs; `overnight best` says "
            "how the best one is chosen"
        )


def _more(samples: int) -> str:
    """Return samples that are not committed, as they stand beside those that are."""
    return f" + {samples}" if samples else ""


def _is_passed_over(highest: float | None, chosen: float | None) -> bool:
    """Return whether the program with the highest training score is not the one that was chosen."""
    return highest is not None and chosen is not None and chosen < highest
