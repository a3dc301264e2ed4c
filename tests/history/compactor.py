"""Child process that commits generations and compacts after every two, until it is done or killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tasks.history.files import RunFiles
from tests.history.writer import ROOT, Process, environment


def start(files: RunFiles, rounds: int) -> Process:
    """Start the process and wait until it has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.history.compactor", str(files.directory), str(rounds)],
        cwd=ROOT,
        env=environment(files),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def main(directory: str, rounds: str) -> None:
    from tasks.history.compact import compact
    from tasks.history.run_lock import run_lock
    from tests.history.made import grow, run_at

    files = run_at(Path(directory))
    with run_lock(files):
        sys.stdout.write("locked\n")
        sys.stdout.flush()
        for _ in range(int(rounds)):
            grow(files, 2)
            compact(files, 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
