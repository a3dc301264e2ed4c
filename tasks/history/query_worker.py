"""The process that `query_process` starts: it answers queries until nobody is there to ask."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from schemas.errors import EnvironmentFault, OvernightError
from tasks.history.database import Database

if TYPE_CHECKING:
    import pyarrow as pa


def main(history: Path, answers: int) -> None:
    """Answer the requests that come on stdin, one a line; replies go to stdout, answers into a file.

    Args:
        history: Its directory.
        answers: Descriptor of the file.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")  # the first to go where memory runs out
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    replies = sys.stdout.buffer
    try:
        database = Database(history)
    except OvernightError as error:
        _reply(replies, _error(error))
        return
    _reply(replies, {"most_bytes": database.most_bytes})
    while True:
        _reply(replies, _answered(database, json.loads(requests.get()), answers))


def _listen(requests: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on, and end the process with the one that asks, even within a query."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _answered(database: Database, request: dict[str, Any], answers: int) -> dict[str, Any]:
    try:
        _write(database.query(request["sql"], request["parameters"]), answers)
    except OvernightError as error:
        return _error(error)
    except OSError as error:
        fault = f"the answer cannot be written into the temporary folder: {error.strerror or error}"
        return _error(EnvironmentFault(fault, remedy="Free some space, or name another folder: TMPDIR=DIR"))
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
    main(Path(sys.argv[1]), int(sys.argv[2]))
