"""Flow runs of a night start and end one at a time, and do their work side by side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from flows.flow_run_changes import FlowRunChanges


def test_starts_and_ends_never_meet_and_the_work_between_them_does():
    changes, changing, together = FlowRunChanges(), threading.Semaphore(1), threading.Barrier(4)

    def change() -> None:
        assert changing.acquire(blocking=False), "another one starts or ends"
        changing.release()

    def flow_run(_: int) -> None:
        with changes.alone():
            change()
            with changes.others_allowed():
                together.wait(timeout=60)
            change()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(flow_run, range(4)))


def test_without_a_night_nobody_waits():
    changes = FlowRunChanges()
    with changes.others_allowed(), changes.alone():
        pass
