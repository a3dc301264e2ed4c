"""`overnight serve`: a server of its own that plans the nights which are scheduled, and has pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.server import _free_port
from tests.flows.cli.conftest import call

pytestmark = pytest.mark.prefect


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Address of the server of an `overnight serve`, which Ctrl-C ends."""
    port = _free_port()
    serving = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "serve", "--port", str(port)],
        env={**os.environ, "PREFECT_API_URL": "", "PREFECT_HOME": str(tmp_path / "prefect")},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert serving.stderr is not None
    try:
        said = serving.stderr.readline()
        assert f"http://127.0.0.1:{port};" in said
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.send_signal(signal.SIGINT)
        serving.communicate(timeout=60)


def test_what_is_scheduled_is_planned_and_the_pages_are_there(served: str, toy: Path, tmp_path: Path):
    with urllib.request.urlopen(served, timeout=20) as page:
        assert "<html" in page.read().decode()
    assert (tmp_path / "prefect" / "overnight-pages").is_dir(), "and nothing is unpacked into the environment"
    line = ["schedule", str(toy), "--cron", "0 22 * * *"]
    done = call(line, tmp_path / "history", PREFECT_API_URL=f"{served}/api", PREFECT_HOME=str(tmp_path / "client"))
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 60
    while not (planned := nights(served)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert {night["state_type"] for night in planned} == {"SCHEDULED"}


def nights(server: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{server}/api/flow_runs/filter", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
