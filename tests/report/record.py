"""Records the first minutes in a terminal: `python -m tests.report.record FOLDER`, where no folder is yet.

The project is cloned there and used in a pseudo-terminal. The recording has the format asciicast v2: pieces of output,
and a marker for each command. Waits are cut, and most frames of a panel that is drawn again and again are left out.
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
_TITLE = "Overnight: the first minutes; waits are cut"
_SIZE = (30, 100)
_PROMPT = "$ "
_LONGEST_WAIT_S, _FRAME_S, _GAP_S = 1.0, 3.0, 0.05
_ERASED = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")

Event = tuple[float, str, str]


def record(folder: Path) -> None:
    """Clone the project into a folder, type the commands there and write the recording."""
    subprocess.run(["git", "clone", "--quiet", Path(__file__).parents[2], folder], check=True)
    header = {"version": 2, "width": _SIZE[1], "height": _SIZE[0], "title": _TITLE}
    CAST.write_text("".join(f"{json.dumps(line)}\n" for line in (header, *cut(thinned(list(_session(folder)))))))


def _session(folder: Path) -> Iterator[Event]:
    """Yield what a shell prints, and a marker before each command."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        variables = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "VIRTUAL_ENV")}
        os.execvpe("bash", ["bash", "--norc"], variables | {"PS1": _PROMPT, "TERM": "xterm-256color"})
    termios.tcsetwinsize(terminal, _SIZE)
    with open(terminal, "r+b", buffering=0) as stream:
        for command in (*COMMANDS, ""):
            read = b""
            while not read.endswith(_PROMPT.encode()):
                read = stream.read(65536)
                while select.select([stream], [], [], _GAP_S)[0]:  # so that a frame is read as a whole
                    read += stream.read(65536)
                yield time.monotonic(), "o", read.decode()
            if command:
                yield time.monotonic(), "m", command
            stream.write(f"{command or 'exit'}\n".encode())
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
