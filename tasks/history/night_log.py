"""Log of each night: a text file of the run, with a line for the start, each generation, each pause, and the end."""

from __future__ import annotations

import contextlib
import logging
import re
from datetime import UTC, datetime

from overnight.schemas.errors import DiskFault
from overnight.schemas.escaping import escape_invisible
from overnight.tasks.history.atomic_files import append_lines
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.private_files import is_plain_file

_LOG = logging.getLogger("overnight.night")


def log_line(files: RunFiles, night: int, text: str) -> None:
    """Append a line, escaped, to the log of a night, and write it to Python's log, too.

    It is on disk when the function returns, and on object storage with the night's next row. Where the disk is full, it
    is in Python's log alone. The run need not exist yet; a night that cannot start has the number that it would have
    had.
    """
    line = escape_invisible(text.replace("\n", " "))
    _LOG.info("%s, night %d: %s", files.run_id, night, line)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(DiskFault):
        append_lines(files.night_log(night), [f"{at} {line}".encode()])


def limits_of_last_night(files: RunFiles) -> str:
    """Return the limits of the last night that began, in the words of its log; empty if no log has them."""
    found = [said for _, line in read_log(files) if (said := re.search(r" started, (.+); best ", line))]
    return found[-1][1] if found else ""


def read_log(files: RunFiles) -> list[tuple[int, str]]:
    """Return the lines of all nights of a run in order, each with the number of its night."""
    found = []
    for path in files.night_logs():
        text = path.read_text(encoding="utf-8", errors="replace") if is_plain_file(path) else ""
        found += [(int(path.stem), escape_invisible(line)) for line in text.splitlines()]
    return found
