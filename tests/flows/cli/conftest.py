"""Fixtures that run the `overnight` command, as a process, as users do, or in this one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from overnight.flows.cli.main import run
from tests.command_server import fork_for_queries, run_command
from tests.conftest import PLAIN

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def finished_history(tmp_path_factory: pytest.TempPathFactory, shared_folder: Path) -> tuple[Path, str]:
    """A history with one short run on the toy problem, and the run's id; the night runs once for all test processes."""
    finished = shared_folder / "finished-history"
    with FileLock(f"{finished}.lock"):
        if not finished.exists():
            _run_night(tmp_path_factory.mktemp("finished") / "history").rename(finished)
    history = tmp_path_factory.mktemp("history")
    shutil.copytree(finished, history, symlinks=True, dirs_exist_ok=True)
    (run,) = (history / "runs").iterdir()
    return history, run.name


def _run_night(history: Path) -> Path:
    toy = Path(__file__).parents[2] / "specifications/toy.py"
    # Of this seed, one answer repeats an earlier program.
    line = ["run", str(toy), "--generations", "3", "--seed", "14", "--confirm", "best"]
    done = call(line, history, **PLAIN)
    assert done.returncode == 0, done.stderr
    return history


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function that runs a command in this process, with a history, as `call` does in one of its own."""
    fork_for_queries(monkeypatch.setattr)

    def run_here(arguments: list[str], history: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        for name, value in {"OVERNIGHT_HISTORY": str(history), **environment}.items():
            monkeypatch.setenv(name, value)
        code = run(arguments)
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err)

    return run_here


@pytest.fixture
def overnight(finished_history: tuple[Path, str], here: Command) -> Command:
    """A function that runs a command on that history, in this process."""

    def run_on_finished(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return here(list(arguments), finished_history[0], **environment)

    return run_on_finished


def call(arguments: list[str], history: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run an `overnight` command in a process of its own."""
    return run_command(arguments, {**os.environ, "OVERNIGHT_HISTORY": str(history), **environment})
