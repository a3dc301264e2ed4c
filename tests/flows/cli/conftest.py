"""The `overnight` command as its users call it: a process, its streams, its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def finished_history(
    tmp_path_factory: pytest.TempPathFactory, prefect_api: str, sandbox_image: str
) -> tuple[Path, str]:
    """A history with one short run on the toy problem, and the run's id."""
    history = tmp_path_factory.mktemp("history")
    toy = Path(__file__).parents[2] / "specifications/toy.py"
    done = call(
        ["run", str(toy), "--generations", "3", "--seed", "1", "--set", f"sandbox.image={sandbox_image}"],
        history,
        PREFECT_API_URL=prefect_api,
    )
    assert done.returncode == 0, done.stderr
    (run,) = (history / "runs").iterdir()
    return history, run.name


@pytest.fixture
def overnight(finished_history: tuple[Path, str]) -> Command:
    """Runs a command on that history."""
    return lambda *arguments, **environment: call(list(arguments), finished_history[0], **environment)


def call(arguments: list[str], history: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments],
        env={**os.environ, "OVERNIGHT_HISTORY": str(history), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
