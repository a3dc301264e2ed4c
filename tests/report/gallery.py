"""Makes the gallery of what was found: `python -m tests.report.gallery [HISTORY] [PROBLEM ...]`.

A night of the built-in model is run for each problem that the history has no run of; then the page is written.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from overnight.flows.report.build import build_report, draw_report
from overnight.schemas.report_data import ReportData
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.report.number_format import grouped, score_text
from overnight.tasks.report.sanitised_svg import title_of

PROBLEMS = Path(__file__).parents[2] / "tasks/problems"
PAGE = PROBLEMS / "gallery.md"
PICTURES = PROBLEMS / "gallery"
SHOWN = (
    *("cap-set", "corner-free-set", "cyclic-graph", "admissible-set", "sorting-network", "sort4"),
    *("bin-packing-weibull", "heilbronn-triangle", "autocorrelation-inequality"),
    *("no-isosceles", "kakeya-needle", "kakeya-set", "grid-tiling", "happy-ending"),
)
_HEAD = """# Gallery: what was found

Pictures of the start program and of the best program that one night of the built-in model found, which needs no key:
two minutes on two processor cores beside other work, seed 1, each by the command beside it. The problem's own function
draws them, in the sandbox. `python -m tests.report.gallery` runs the nights and writes this page.
"""


def command_of(problem: str) -> list[str]:
    """Return the command whose result is shown."""
    return ["overnight", "run", problem, "--model", "builtin/mutate", "--seed", "1", "--until", "120s"]


def make(history: Path, problems: tuple[str, ...] = SHOWN) -> None:
    """Run what is missing, and write all pictures and the page."""
    PICTURES.mkdir(exist_ok=True)
    parts = [_HEAD]
    for problem in problems:
        runs = _runs(history, problem)
        if not runs:
            command = [Path(sys.executable).with_name("overnight"), *command_of(problem)[1:], "--history", history]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            runs = _runs(history, problem)
        parts.append(_part(problem, history, runs[-1]))
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def _runs(history: Path, problem: str) -> list[str]:
    if not (history / "runs").exists():
        return []
    rows: list[dict[str, Any]] = Database(history).rows(
        "SELECT run_id FROM runs WHERE problem = ? ORDER BY started_at", [problem]
    )
    return [row["run_id"] for row in rows]


def _part(problem: str, history: Path, run_id: str) -> str:
    database = Database(history)
    report = build_report(database, find_run(LocalBackend(history), run_id))
    pictures = draw_report(database, report).pictures
    cells = []
    for name, program_id in (("start", report.start.program_id), ("best", report.best.program_id)):
        path = PICTURES / f"{problem}-{name}.svg"
        path.write_text(pictures[program_id], encoding="utf-8")
        cells.append(f'<img src="gallery/{path.name}" width="380" alt="{name}: {title_of(pictures[program_id])}">')
    return (
        f"## {report.run.problem.settings.title}\n\n`{' '.join(command_of(problem))}`\n\n{_result(report)}\n\n"
        f"| start | best |\n|---|---|\n| {cells[0]} | {cells[1]} |\n"
    )


def _result(report: ReportData) -> str:
    known = report.run.problem.settings.known
    start, best, line = report.start.held_out, report.best.held_out, known.honesty_held_out
    where = " on held-out inputs"
    if start is None or best is None:
        start, best, line, where = report.start.train, report.best.train, known.honesty, ""
    levels = [(line, "without a model"), (known.best, "best known")]
    beside = "".join(f", {name} {score_text(value)}" for value, name in levels if value is not None)
    last = report.generations[-1]
    return (
        f"From {score_text(start)} to **{score_text(best)}**{where}{beside}; "
        f"{grouped(last.samples)} samples in {grouped(report.time_spent.nights_s)} s."
    )


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "history"), tuple(sys.argv[2:]) or SHOWN)
