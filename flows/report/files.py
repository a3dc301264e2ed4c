"""Draws the programs that the report of a run shows, and writes the report into the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flows.report.drawings import draw_programs
from schemas.drawings import NO_DRAWINGS, Drawings
from schemas.report_data import ReportData
from tasks.history.database import Database
from tasks.history.files import RunFiles
from tasks.history.private_files import open_private
from tasks.report.lineage_graph import line_of_descent
from tasks.report.page import render

_MAX_STEPS = 8
"""Most programs of the line of descent that are drawn, its ends included."""

_BODIES = "SELECT program_id, body FROM programs WHERE run_id = ? AND list_contains(?, program_id)"


def draw_report(database: Database, report: ReportData, *, note: Callable[[str], None] = lambda _: None) -> Drawings:
    """Draw the start program, the best one, and some that led from one to the other.

    Args:
        database: The history.
        report: Data of the report.
        note: Function that takes a message about a step that takes long.
    """
    if not report.run.problem.draws:
        return NO_DRAWINGS
    line = [ancestor.program_id for ancestor in line_of_descent(report.lineage)]
    wanted = list(dict.fromkeys([report.start.program_id, report.best.program_id, *spread(line, _MAX_STEPS)]))
    rows = database.rows(_BODIES, [report.run.run_id, wanted])
    bodies = {row["program_id"]: row["body"] for row in rows}
    bodies = {name: bodies[name] for name in wanted if name in bodies}
    run = report.run
    return draw_programs(run.problem, bodies, seed=run.seed, run_id=run.run_id, note=note)


def spread(items: Sequence[str], most: int) -> list[str]:
    """Return at most so many of the items, evenly spread, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def write_report(files: RunFiles, report: ReportData, drawings: Drawings = NO_DRAWINGS) -> Path:
    """Write the report of a run into its folder; return its absolute path.

    Raises:
        OSError: If the report cannot be written.
    """
    path = files.directory / "report.html"
    with open_private(path, "wb") as file:
        file.write(render(report, drawings).encode())
    return path.resolve()
