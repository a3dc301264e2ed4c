"""Histories on object storage beside a disk: what a commit takes, and what bringing a copy up to date does.

python -m tests.bench.bench_remote [GENERATIONS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from overnight.tasks.history.backends import open_history
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow
from tests.objects import KEY, SECRET, ObjectServer, object_store


def main(generations: int) -> None:
    os.environ.update(AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=SECRET)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        with object_store() as store:
            _compare(place, store, generations)


def _compare(place: Path, store: ObjectServer, generations: int) -> None:
    store.files.create_dir("nights")
    os.environ["OVERNIGHT_CACHE"] = str(place / "here")
    url = store.url("nights")
    for label, history in (("a disk", LocalBackend(place / "disk")), ("a store", open_history(url))):
        files, before = create(history, islands=3, prompts=12), len(store.requests)
        with run_lock(files):
            _tell(f"commit to {label}", lambda files=files: grow(files, generations), generations)
            print(f"{'':24} {(len(store.requests) - before) / generations:.1f} requests")
    os.environ["OVERNIGHT_CACHE"] = str(place / "elsewhere")
    copy = open_history(url)
    _tell(f"first copy of {generations}", copy.refresh)
    copy.refresh()
    _tell("nothing new", copy.refresh)


def _tell(what: str, do: Callable[[], object], times: int = 1) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    do()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{what:24} {1000 * wall / times:7.0f} ms, {1000 * processor / times:6.1f} ms of processor time")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["60"])[0]))
