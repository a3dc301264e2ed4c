"""Takes pictures of reports and live pages: `python -m tests.report.screens HISTORY [FOLDER]`.

For the last run of each problem in the history: the top of both pages in a light and a dark scheme, and on a phone.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overnight.tasks.history.database import Database
from tests.report.browser import Page, browser, find_chromium

FOLDER = Path(__file__).parent / "pictures" / "pages"
_SCREENS = {"light": (1000, 1300, False), "dark": (1000, 1300, True), "phone": (390, 1300, False)}
_QUALITY = 60
_PROGRAM = Path(sys.executable).with_name("overnight")


def take(history: Path, folder: Path = FOLDER) -> None:
    """Write the pictures as WebP files, named after problem, page and screen."""
    program = find_chromium()
    assert program is not None, "no Chromium; `make browser` installs it"
    folder.mkdir(parents=True, exist_ok=True)
    rows = Database(history).rows("SELECT problem, max(run_id) AS run_id FROM runs GROUP BY problem ORDER BY problem")
    with tempfile.TemporaryDirectory() as directory, browser(program) as page:
        for row in rows:
            report = Path(directory) / f"{row['problem']}.html"
            command = [_PROGRAM, "report", row["run_id"], "--history", history, "--write", report]
            subprocess.run(command, check=True, capture_output=True)
            _take(page, report.as_uri(), folder, f"{row['problem']}-report")
            with _watched(row["run_id"], history) as address:
                _take(page, address, folder, f"{row['problem']}-live")


def _take(page: Page, address: str, folder: Path, name: str) -> None:
    page.call("Emulation.setScrollbarsHidden", hidden=True)
    for screen, (width, height, dark) in _SCREENS.items():
        page.open(address, width=width, height=height, dark=dark)
        if "live" in name:
            page.until("document.getElementById('live').textContent !== 'connecting'")
            page.until("document.querySelector('.pair .picture img') !== null")
        data = page.call("Page.captureScreenshot", format="webp", quality=_QUALITY)["data"]
        (folder / f"{name}-{screen}.webp").write_bytes(base64.b64decode(data))


@contextmanager
def _watched(run_id: str, history: Path) -> Iterator[str]:
    """Serve the live page of a run, and yield its address."""
    command = [_PROGRAM, "watch", run_id, "--history", history, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        yield next(word for line in process.stderr for word in line.split() if word.startswith("http://127.0.0.1:"))
    finally:
        process.terminate()
        process.wait(20)


if __name__ == "__main__":
    take(Path(sys.argv[1]), *map(Path, sys.argv[2:]))
