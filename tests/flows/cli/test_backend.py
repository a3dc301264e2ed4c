"""A night on a sandbox backend that a package of the user's own adds needs no Docker engine anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.cli.conftest import call

CONTRACT = Path(__file__).parents[2] / "contract"
"""Folder in which the tests' backend `bare` is installed."""

SHORT = ("--generations", "1", "--seed", "1", "--set", "search.prompts=2", "--set", "search.samples=1")


@pytest.mark.prefect
def test_a_night_a_resumed_night_and_a_replay_run_on_a_backend_of_the_user_s_own(
    toy: Path, tmp_path: Path, prefect_api: str
):
    environment = {
        "PYTHONPATH": str(CONTRACT),
        "DOCKER_HOST": "unix:///nowhere.sock",
        "PREFECT_API_URL": prefect_api,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "OVERNIGHT_CONFIG": str(tmp_path / "config.toml"),
    }
    history = tmp_path / "history"
    first = call(["run", str(toy), *SHORT, "--set", "sandbox.backend=bare"], history, **environment)
    assert first.returncode == 0, first.stderr
    resumed = call(["resume", "last", "--generations", "1"], history, **environment)
    assert resumed.returncode == 0, resumed.stderr
    replayed = call(["replay", "last"], history, **environment)
    assert replayed.returncode == 0, replayed.stderr
    recorded = call(["sql", "SELECT DISTINCT image_id FROM runs", "--format", "json"], history, **environment)
    assert "python-" in recorded.stdout, "the id that the backend gives its image"


def test_doctor_looks_at_the_backend_of_the_user_s_configuration(tmp_path: Path):
    config = tmp_path / "config.toml"
    config.write_text('sandbox.backend = "bare"\n')
    environment = {"PYTHONPATH": str(CONTRACT), "OVERNIGHT_CONFIG": str(config), "PREFECT_API_URL": ""}
    done = call(["doctor"], tmp_path, DOCKER_HOST="unix:///nowhere.sock", **environment)
    assert "plain processes" in done.stdout, done.stdout
