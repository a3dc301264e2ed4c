"""`overnight report`: write the report of a run, or an index of all, as an HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from overnight.flows.cli import options
from overnight.flows.cli.printing import DEFAULT_HISTORY, History, say
from overnight.flows.start.trust import accept_sandbox
from overnight.schemas.errors import UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.report_data import NO_DRAWINGS, Drawings, ReportData
from overnight.tasks.history.private_files import open_private

if TYPE_CHECKING:
    from overnight.tasks.history.database import Database


def _refuse_flag(_: object, path: Path | None) -> None:
    """Refuse another flag in the place of a file: leading hyphens are allowed for `-` alone."""
    if str(path).startswith("-") and str(path) != "-":
        raise ValueError(f"expected a file, got the flag {path}; a file of that name is ./{path}")


Write = Annotated[
    Path | None,
    Parameter(
        help="file to write; an existing one is replaced; `-` is stdout",
        allow_leading_hyphen=True,
        validator=_refuse_flag,
    ),
]


def report(
    run: str | None = None,
    /,
    *,
    all: bool = False,  # noqa: A002
    night: Annotated[int | None, Parameter(name=["--night", "--nights"])] = None,
    without_pictures: bool = False,
    trust_settings: options.TrustSettings = False,
    write: Write = None,
    history: History = DEFAULT_HISTORY,
) -> None:
    """Write the morning report of a run, by default the last one, as one self-contained HTML file.

    Args:
        run: a run id, a unique prefix of one, or `last`
        all: write an index of all runs instead
        night: report this night only
        without_pictures: leave out what the problem draws of programs, in the sandbox
    """
    if all:
        if run is not None or night is not None:
            raise UsageError("--all lists every run, and takes neither a run nor --night")
        _write_index(history, write)
        return
    from overnight.flows.report.build import build_report
    from overnight.tasks.history.database import Database
    from overnight.tasks.history.find_run import find_run
    from overnight.tasks.report.page import render

    files = find_run(history, run or "last")
    database = Database(history.root, files.run_id)
    data = build_report(database, files, night)
    drawings = NO_DRAWINGS if without_pictures else _drawings(database, data, trust=trust_settings)
    name = f"report-{files.run_id}{f'-night-{night}' if night else ''}.html"
    write_page(write or Path(name), render(data, drawings), is_named=write is not None)


def _drawings(database: Database, data: ReportData, *, trust: bool) -> Drawings:
    """Draw the programs of a report; say why some could not be drawn."""
    if not data.run.problem.draws:
        return NO_DRAWINGS
    from overnight.flows.report.build import draw_report

    if trust:
        accept_sandbox(data.run.problem, trust=True)
    drawings = draw_report(database, data, note=say)
    if drawings.remark:
        say(drawings.remark)
    return drawings


def write_page(path: Path, html: str, *, is_named: bool = True) -> None:
    """Write a page to a file and print its path, or write it to stdout for `-`.

    A file that the user named may be a link. One of the predictable default name is not followed: another user of the
    folder could have placed it.
    """
    if str(path) == "-":
        sys.stdout.buffer.write(html.encode())
        return
    try:
        with open_private(path, "wb", follows_link=is_named) as file:
            file.write(html.encode())
    except OSError as error:
        raise unwritable(path, error) from error
    say(f"wrote {path.resolve()}, {len(html.encode()) / 1024:.0f} KiB; open it in a browser")


def unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror}", remedy="Name another file with --write.")


def _write_index(history: HistoryBackend, write: Path | None) -> None:
    from overnight.flows.report.comparison_data import all_score_curves
    from overnight.tasks.history.database import Database
    from overnight.tasks.history.find_run import no_run_in
    from overnight.tasks.report.comparison import render_index

    runs = all_score_curves(Database(history.root))
    if not runs:
        raise no_run_in(history)
    path = write or Path("report-all.html")
    pages = [run.run_id for run in runs if (path.parent / f"report-{run.run_id}.html").exists()]
    write_page(path, render_index(runs, pages), is_named=write is not None)
