"""Child process that holds a run and commits generations, and may compact them, until it is done or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

from overnight.tasks.history.files import RunFiles

ROOT = Path(__file__).parents[2]
Process: TypeAlias = "subprocess.Popen[str]"


def environment(files: RunFiles) -> dict[str, str]:
    """Return the environment of the machine that has a run: only its own cache folder may contain copies."""
    return {**os.environ, "OVERNIGHT_CACHE": str(files.directory.parents[2])}


def start(files: RunFiles, generations: int, *, compacts: bool = False) -> Process:
    """Start the process and wait until it has the lock; it compacts after every second generation, or never."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.history.writer", str(files.directory), str(generations), "2" if compacts else ""],
        cwd=ROOT,
        env=environment(files),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def main(directory: str, generations: str, compacted: str) -> None:
    from overnight.tasks.history.compact import compact
    from overnight.tasks.history.run_lock import run_lock
    from overnight.testing.made import grow, run_at

    files = run_at(Path(directory))
    with run_lock(files):
        sys.stdout.write("locked\n")
        sys.stdout.flush()
        at_once = int(compacted or generations)
        for _ in range(int(generations) // at_once):
            grow(files, at_once)
            if compacted:
                compact(files, at_once)
        sys.stdout.write("done\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
