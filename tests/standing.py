"""A standing Prefect server and a PostgreSQL of the tests' own, each a process on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.environment import SERVER_VARIABLES
from tests.accidents import wait_until
from tests.ports import free_port

BIN = Path(sys.executable).parent


@contextlib.contextmanager
def process(log: Path, *command: str | Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process in a session of its own; end it with all its children at the end of the block."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@contextlib.contextmanager
def postgresql(log: Path) -> Iterator[str]:
    """Yield the address of a new PostgreSQL database, with the programs of Debian's package, as a user but root."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not versions:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    port = str(free_port())
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    # Not pytest's folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="overnight-pg-"))
    try:
        if as_user:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        initdb = [*as_user, versions[-1] / "initdb", "-D", data, "-A", "trust", "-U", "overnight"]
        subprocess.run(initdb, check=True, cwd="/", stdout=subprocess.DEVNULL)
        command = [*as_user, versions[-1] / "postgres", "-D", data, "-p", port, "-k", "/tmp", "-h", "127.0.0.1"]
        with process(log, *command):
            ready = [versions[-1] / "pg_isready", "-q", "-h", "127.0.0.1", "-p", port]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, lambda: "PostgreSQL", timeout_s=30)
            yield f"postgresql+asyncpg://overnight@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def standing_server(folder: Path, **environment: str) -> Iterator[str]:
    """Yield the address of a standing Prefect server, started as by the unit in `infra/`."""
    port = str(free_port())
    given = {**SERVER_VARIABLES, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_API_URL": "", **environment}
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with process(folder / "server.log", *command, **given):
        url = f"http://127.0.0.1:{port}/api"
        wait_until(lambda: _answers(f"{url}/health"), lambda: "the server", timeout_s=180)
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False
