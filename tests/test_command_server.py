"""A forked command has the arguments, streams, folder, variables and end of one that an interpreter is started for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from overnight.testing.made import create
from tests.command_server import CommandProcess, can_fork, install, run_command

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["sql", "SELECT 1 AS one", "--format", "csv"]],
    ids=" ".join,
)
def test_it_ends_and_prints_like_one_in_an_interpreter_of_its_own(arguments: list[str], tmp_path: Path):
    create(tmp_path)
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(tmp_path)}
    command = [sys.executable, "-m", "overnight.flows.cli.main", *arguments]
    own = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    forked = run_command(arguments, environment)
    assert (forked.returncode, forked.stdout) == (own.returncode, own.stdout)
    assert forked.stderr.split(" in ")[0] == own.stderr.split(" in ")[0], "apart from how long a query took"


def test_it_runs_in_the_folder_and_with_the_settings_of_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:9/api\n")
    monkeypatch.chdir(tmp_path)
    assert ".env configures Prefect" in run_command(["runs"], os.environ).stderr
    home = str(tmp_path / "home")
    monkeypatch.chdir("/")
    done = run_command(["doctor"], {**os.environ, "PREFECT_HOME": home, "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert "http://127.0.0.1:9/api" in done.stdout, "Prefect's settings are read again"


def test_a_signal_ends_it_and_is_its_exit_code(tmp_path: Path):
    create(tmp_path)
    process = CommandProcess(["watch", "last"], {**os.environ, "OVERNIGHT_HISTORY": str(tmp_path)})
    assert process.stderr is not None
    assert "http://" in process.stderr.readline()
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == process.poll() == -signal.SIGKILL


def test_variables_that_an_interpreter_reads_when_it_starts_need_one_of_their_own():
    assert can_fork(os.environ)
    assert not can_fork({**os.environ, "PYTHONIOENCODING": "iso-8859-1"})


def test_the_installed_program_passes_streams_and_exit_code_on(tmp_path: Path):
    assert install(tmp_path)
    program = str(tmp_path / "overnight")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == version("overnight")
    create(tmp_path / "history")
    query = subprocess.run(
        [program, "sql", "-", "--history", str(tmp_path / "history"), "--format", "csv"],
        input="SELECT 42 AS answer", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert query.stdout.splitlines() == ["answer", "42"]
    assert subprocess.run([program, "rnu"], capture_output=True, check=False).returncode == 2
