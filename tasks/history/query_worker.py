"""Main program of the process that `query_process` starts: answer queries until stdin is closed."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from overnight.schemas.errors import EnvironmentFault, OvernightError
from overnight.tasks.history.database import Database

if TYPE_CHECKING:
    import pyarrow as pa


def main(history: str, answers: int, run_id: str | None, only: Sequence[str]) -> None:
    """Answer requests from stdin, one per line; write replies to stdout, result tables to the file of a descriptor."""
    with suppress(OSError):
        # Where memory runs out, the kernel kills this process first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    replies = sys.stdout.buffer
    try:
        database = Database(Path(history), run_id, only)
    except OvernightError as error:
        _reply(replies, _error(error))
        return
    _reply(replies, {"max_bytes": database.max_bytes})
    while True:
        _reply(replies, _answer(database, json.loads(requests.get()), answers))


def _read_requests(requests: queue.SimpleQueue[bytes]) -> None:
    """Queue requests, and end the process when stdin is closed, even within a query."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _answer(database: Database, request: dict[str, Any], answers: int) -> dict[str, Any]:
    try:
        _write(database.query(request["sql"], request["parameters"]), answers)
    except OvernightError as error:
        return _error(error)
    except OSError as error:
        message = f"the answer cannot be written to the temporary folder: {error.strerror or error}"
        return _error(EnvironmentFault(message, remedy="Free some space, or name another folder: TMPDIR=DIR"))
    return {}


def _write(answer: pa.Table, descriptor: int) -> None:
    import pyarrow as pa

    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "wb", closefd=False) as file, pa.ipc.new_file(file, answer.schema) as writer:
        writer.write_table(answer)


def _error(error: OvernightError) -> dict[str, Any]:
    return {"error": [type(error).__name__, error.message, error.remedy]}


def _reply(replies: IO[bytes], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
