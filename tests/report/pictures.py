"""Draws the README's pictures of a report: `python -m tests.report.pictures RUN [HISTORY]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from overnight.flows.report.build import build_report
from overnight.tasks.history.database import Database
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.report.page import render
from tests.report.browser import browser, find_chromium

PICTURES = Path(__file__).parent / "pictures"
_WIDTH, _HEIGHT = 900, 1100


def draw(run: str, history: Path, folder: Path = PICTURES) -> list[Path]:
    """Write two PNGs of the top of a run's report, one in the light and one in the dark colour scheme.

    Args:
        run: Id of the run, a unique prefix of it, or `last`.
        history: Directory of the history.
        folder: Directory of the pictures.
    """
    program = find_chromium()
    assert program is not None, "no Chromium; `make browser` installs it"
    page = render(build_report(Database(history), find_run(LocalBackend(history), run), None))
    folder.mkdir(exist_ok=True)
    pictures = [folder / "report-light.png", folder / "report-dark.png"]
    with tempfile.TemporaryDirectory() as directory, browser(program) as tab:
        file = Path(directory) / "report.html"
        file.write_text(page, encoding="utf-8")
        tab.call("Emulation.setScrollbarsHidden", hidden=True)
        for picture in pictures:
            tab.open(file.as_uri(), width=_WIDTH, height=_HEIGHT, dark="dark" in picture.stem)
            tab.picture(picture, whole=False)
    return pictures


if __name__ == "__main__":
    for path in draw(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "history")):
        sys.stdout.write(f"{path}: {path.stat().st_size / 1024:.0f} KiB\n")
