"""A night on plain processes, which the user names, needs no Docker engine anywhere, and says what that means."""

from __future__ import annotations

import re
from pathlib import Path

from tests.command_server import WITHOUT_PREFECT
from tests.flows.cli.conftest import call

SHORT = ("--generations", "1", "--seed", "1", "--set", "search.prompts=2", "--set", "search.samples=1")


def test_a_night_a_resumed_night_and_a_replay_run_on_plain_processes_and_say_so(toy: Path, tmp_path: Path):
    environment = {
        "DOCKER_HOST": "unix:///nowhere.sock",
        WITHOUT_PREFECT: "1",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OVERNIGHT_CONFIG": str(tmp_path / "config.toml"),
    }
    history = tmp_path / "history"
    first = call(["run", str(toy), *SHORT, "--sandbox", "process"], history, **environment)
    assert first.returncode == 0, first.stderr
    assert "warning: candidates are " in first.stderr.partition("\nrun ")[0], "before any program is run"
    assert re.search(r"^run \S+, seed 1, sandbox: (unconfined|bubblewrap)$", first.stderr, re.MULTILINE)
    resumed = call(["resume", "last", "--generations", "1"], history, **environment)
    assert resumed.returncode == 0, resumed.stderr
    replayed = call(["replay", "last"], history, **environment)
    assert replayed.returncode == 0, replayed.stderr
    recorded = call(["sql", "SELECT DISTINCT image_id FROM runs", "--format", "json"], history, **environment)
    assert "Python" in recorded.stdout, "the id that the backend gives its image"
    page = tmp_path / "report.html"
    assert call(["report", "last", "--write", str(page)], history, **environment).returncode == 0
    assert "Warning: candidates are " in page.read_text()


def test_doctor_looks_at_the_backend_of_the_user_s_configuration(tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text('sandbox.backend = "process"\n')
    environment = {"OVERNIGHT_CONFIG": str(config), "PREFECT_API_URL": ""}
    done = call(["doctor"], tmp_path, DOCKER_HOST="unix:///nowhere.sock", **environment)
    assert "plain processes" in done.stdout, done.stdout
