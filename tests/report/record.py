"""Records the first minutes in a terminal, in a new clone: `python -m tests.report.record FOLDER`, a folder to come.

The recording has the format asciicast v2: pieces of output, and a marker for each command. Waits are cut, and most
frames of a panel that is drawn again and again are left out.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

CAST = Path(__file__).parent / "pictures" / "first-minutes.cast"
COMMANDS = (
    "make demo",
    'export PATH="$PWD/.venv/bin:$PATH"',
    "overnight report last",
    "overnight best last",
    'overnight sql "SELECT outcome, count(*) AS candidates FROM programs GROUP BY outcome ORDER BY candidates DESC"',
)
_HEADER = {"version": 2, "width": 100, "height": 30, "title": "Overnight: the first minutes; waits are cut"}
_LONGEST_WAIT_S, _FRAME_S, _GAP_S = 1.0, 3.0, 0.05
_ERASED = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")

Event = tuple[float, str, str]


def record(folder: Path) -> None:
    """Clone the project into a folder, type the commands there and write the recording."""
    subprocess.run(["git", "clone", "--quiet", Path(__file__).parents[2], folder], check=True)
    CAST.write_text("".join(f"{json.dumps(line)}\n" for line in (_HEADER, *cut(thinned(list(_session(folder))[:-1])))))


def _session(folder: Path) -> Iterator[Event]:
    """Yield what a shell prints, and a marker before each command."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("env", ["env", "-C", folder, "-u", "DOCKER_HOST", "PS1=$ ", "TERM=xterm-256color", "bash", "--norc"])
    termios.tcsetwinsize(terminal, (30, 100))
    with open(terminal, "r+b", buffering=0) as stream:
        for command in (*COMMANDS, "exit"):
            read = b""
            while not read.endswith(b"$ "):
                read = stream.read(65536)
                while select.select([stream], [], [], _GAP_S)[0]:  # so that a frame is read as a whole
                    read += stream.read(65536)
                yield time.monotonic(), "o", read.decode()
            yield time.monotonic(), "m", command
            stream.write(f"{command}\n".encode())
    os.waitpid(child, 0)


def thinned(events: list[Event]) -> Iterator[Event]:
    """Leave out frames that another one of the same height replaces, but one every few seconds."""
    shown_at = 0.0
    for (at, kind, text), (_, _, after) in zip(events, [*events[1:], (0.0, "o", "")], strict=True):
        erased = _ERASED.match(text)
        is_frame = erased is not None and erased[0].count("\x1b[1A") == text.count("\n")
        if not (is_frame and _ERASED.match(after) and at - shown_at < _FRAME_S):
            shown_at = at if is_frame else shown_at
            yield at, kind, text


def cut(events: Iterable[Event]) -> Iterator[Event]:
    """Count the time from 0, with no wait longer than allowed."""
    now, last = 0.0, float("inf")
    for at, kind, text in events:
        now, last = now + max(0.0, min(at - last, _LONGEST_WAIT_S)), at
        yield round(now, 2), kind, text


if __name__ == "__main__":
    record(Path(sys.argv[1]).resolve())
