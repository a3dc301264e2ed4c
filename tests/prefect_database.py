"""A Prefect database that is migrated once and copied, since migrations take a server longer than all else.

    python -m tests.prefect_database FILE PID

runs the server that all processes of a test run share until the process with this id ends; its address is in the file.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from filelock import FileLock

from tests.command_server import FOLDER, OWNER, ROOT


class MigratedDatabase:
    """An empty Prefect database of today's schema, shared by all test processes.

    Args:
        folder: Where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "migrated.db"
        with FileLock(folder / "migrated.lock"):
            if not self._file.exists():
                _migrate(self._file)

    def home(self, folder: Path) -> Path:
        """Make `folder` a PREFECT_HOME that has a copy, and return it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with sqlite3.connect(self._file) as source, sqlite3.connect(folder / "prefect.db") as copy:
            source.backup(copy)
        source.close()
        copy.close()
        return folder


def _migrate(file: Path) -> None:
    from overnight.flows.prefect_server.embedded import EmbeddedServer

    with tempfile.TemporaryDirectory(prefix="overnight-migrated-") as home:
        before = os.environ.get("PREFECT_HOME")
        os.environ["PREFECT_HOME"] = home
        try:
            server = EmbeddedServer()
            server.wait()
            server.stop()
        finally:
            os.environ.pop("PREFECT_HOME") if before is None else os.environ.update(PREFECT_HOME=before)
        partial = file.with_suffix(".partial")
        with sqlite3.connect(Path(home) / "prefect.db") as source, sqlite3.connect(partial) as copy:
            source.backup(copy)
        source.close()
        copy.close()
        partial.rename(file)


def shared_server(home: Path) -> str:
    """Return the address of the server with the database of a folder; the first process that needs it starts it."""
    address = home / "address"
    with FileLock(home / "address.lock"):
        if not address.exists():
            owner = Path(os.environ[FOLDER], OWNER).read_text()
            command = [sys.executable, "-m", "tests.prefect_database", str(address), owner]
            with (home / "server.log").open("wb") as log:
                server = subprocess.Popen(
                    command, cwd=ROOT, env={**os.environ, "PREFECT_HOME": str(home)}, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            while not address.exists():
                assert server.poll() is None, (home / "server.log").read_text()
                time.sleep(0.05)
    return address.read_text()


def _serve(address: Path, owner: int) -> None:
    from overnight.flows.prefect_server.embedded import EmbeddedServer

    server = EmbeddedServer()
    server.wait()
    partial = address.with_suffix(".partial")
    partial.write_text(server.url)
    partial.rename(address)
    while _runs(owner):
        time.sleep(1.0)
    server.stop()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
