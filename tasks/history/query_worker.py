"""Main program of the process that `query_process` starts: answer queries until stdin is closed."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from overnight.schemas.errors import OvernightError
from overnight.tasks.history.database import Database
from overnight.tasks.history.query_guard import Limits


def main(history: str, run_id: str | None, limits: dict[str, Any] | None) -> None:
    """Answer requests from stdin, one per line: a reply on stdout, and after it the table, unless it is an error."""
    import pyarrow as pa

    with suppress(OSError):
        # Where memory runs out, the kernel kills this process first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    try:
        database = _open(Path(history), run_id, limits)
    except OvernightError as error:
        _reply(_error(error))
        return
    _reply({"max_bytes": database.max_bytes()})
    while True:
        try:
            table = database.query(**json.loads(requests.get()))
        except OvernightError as error:
            _reply(_error(error))
            continue
        _reply({})
        with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as writer:
            writer.write_table(table)
        sys.stdout.buffer.flush()


def _open(history: Path, run_id: str | None, limits: dict[str, Any] | None) -> Database:
    if limits is None:
        return Database(history, run_id)
    os.chdir(history)  # then no plan and no error has a path of this machine
    return Database(Path(), run_id, Limits(**limits))


def _error(error: OvernightError) -> dict[str, Any]:
    return {"error": [type(error).__name__, error.message, error.remedy]}


def _read_requests(requests: queue.SimpleQueue[bytes]) -> None:
    """Queue requests, and end the process when stdin is closed, even within a query."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _reply(reply: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
