"""The name of a worker in tables and messages: another for each worker of a host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import count

from overnight.flows.state_folder import state_folder
from overnight.schemas.ids import slug
from overnight.tasks.history.file_lock import lock


@contextlib.contextmanager
def worker_name(wanted: str) -> Iterator[str]:
    """Hold a name while a worker runs: the one that is wanted, or with a number if another worker here holds that.

    Raises:
        EnvironmentFault: If there is no folder for the state of Overnight, or it has no locks.
    """
    folder = state_folder()
    for number in count(1):
        path = folder / f"worker-{slug(wanted)}-{number}.lock"
        with path.open("a") as file:
            try:
                lock(file.fileno(), path, waits=False)
            except BlockingIOError:
                continue
            yield wanted if number == 1 else f"{wanted}-{number}"
            return
