"""A Prefect database that is migrated once and copied, since migrations take a server longer than all else."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

from filelock import FileLock


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
