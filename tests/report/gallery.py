"""Makes the gallery of what recorded nights found: `python -m tests.report.gallery [PROBLEM ...]`.

The programs of all nights, or of those that are named, are drawn in the sandbox; then the page is written.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from overnight.flows.formatting import score, scores_beside
from overnight.flows.report.build import build_report
from overnight.flows.report.drawings import draw_programs
from overnight.flows.report.run_data import bodies_of
from overnight.schemas.report_data import ReportData
from overnight.tasks.history.archive import unpack
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems import find_builtin, recorded
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.report.sanitised_svg import title_of

PROBLEMS = Path(__file__).parents[2] / "tasks/problems"
PAGE = PROBLEMS / "gallery.md"
PICTURES = PROBLEMS / "gallery"
_HEAD = """# Gallery: what nights found

What the best program of each [recorded night](README.md#recorded-nights) does, beside the start program, and its code.
The problem's own function draws them, in the sandbox; `python -m tests.report.gallery` makes this page of the archives.
"""


def make(drawn: tuple[str, ...]) -> None:
    """Draw the programs of some nights, remove the pictures of problems without one, and write the page."""
    PICTURES.mkdir(exist_ok=True)
    for path in PICTURES.glob("*.svg"):
        if path.stem.rpartition("-")[0] not in recorded.names():
            path.unlink()
    parts = [_part(problem, draws=problem in drawn) for problem in recorded.names()]
    PAGE.write_text("\n".join([_HEAD, *parts]), encoding="utf-8")


def _part(problem: str, *, draws: bool) -> str:
    with tempfile.TemporaryDirectory(prefix="overnight-gallery-") as folder:
        files, _ = unpack(recorded.archive(problem), LocalBackend(Path(folder)))
        database = Database(Path(folder))
        report = build_report(database, files)
        if draws:
            _draw(problem, database, report)
        title = report.run.problem.settings.title
        database.close()
    texts = (
        f"## {title}",
        f"`overnight import {problem}`",
        result_of(problem),
        recorded.note(problem),
        _pictures(problem),
    )
    return "\n\n".join(filter(None, (*texts, f"```python\n{report.best_function.strip()}\n```\n")))


def _draw(problem: str, database: Database, report: ReportData) -> None:
    """Draw the start program and the best one, each in its own time."""
    run = report.run
    for name, program_id in (("start", report.start.program_id), ("best", report.best.program_id)):
        bodies = bodies_of(database, run.run_id, [program_id])
        drawings = draw_programs(run.problem, bodies, seed=run.seed, run_id=run.run_id)
        picture_of(problem, name).unlink(missing_ok=True)
        if picture := drawings.pictures.get(program_id):
            picture_of(problem, name).write_text(picture, encoding="utf-8")
        else:
            sys.stderr.write(f"{problem}, {name}: {drawings.remark}\n")


def picture_of(problem: str, name: str) -> Path:
    return PICTURES / f"{problem}-{name}.svg"


def _pictures(problem: str) -> str:
    """Return a table of the pictures that there are of a problem."""
    there = [name for name in ("start", "best") if picture_of(problem, name).exists()]
    cells = []
    for name in there:
        path = picture_of(problem, name)
        title = title_of(path.read_text(encoding="utf-8"))
        cells.append(f'<img src="gallery/{path.name}" width="380" alt="{name}: {title}">')
    rows = [f"| {' | '.join(there)} |", f"|{'---|' * len(there)}", f"| {' | '.join(cells)} |"]
    return "\n".join(rows) if there else ""


def result_of(problem: str) -> str:
    """Return what a recorded night found, in a sentence."""
    night, known = recorded.nights()[problem], load_problem(find_builtin(problem)).settings.known
    best, found = scores_beside(known.best, night.found)
    held_out, split = "", known.best_name.removeprefix("best known")
    if night.found_held_out is not None:
        held_out = f"; held out from {score(night.start_held_out)} to {score(night.found_held_out)}"
    text = (
        f"From {score(night.start)} to **{found}**, without a model {score(known.honesty)}, best known {best}{split}"
        f"{held_out}; after {night.found_after} of {night.answers} answers of {night.by}."
    )
    return text.replace(" -", " −").replace("**-", "**−")


if __name__ == "__main__":
    make(tuple(sys.argv[1:]) or tuple(recorded.names()))
