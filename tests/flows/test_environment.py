"""The folder a command is started in may be a stranger's: no file in it says where keys and flow runs go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.main import run

SETTINGS = {
    ".env": "OTHER=1\nexport PREFECT_API_URL=http://127.0.0.1:9/api\n",
    "prefect.toml": '[api]\nurl = "http://127.0.0.1:9/api"\n',
    "pyproject.toml": '[tool.prefect]\napi.url = "http://127.0.0.1:9/api"\n',
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("command", ["run", "resume", "schedules", "serve", "doctor", "replay", "retry", "compare"])
def test_settings_of_prefect_in_the_working_directory_are_refused(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text(SETTINGS[name])
    monkeypatch.chdir(tmp_path)
    assert run([command]) == 2
    said = capsys.readouterr().err
    assert f"{name} has settings of Prefect's" in said
    assert "PREFECT_API_URL=" in said


@pytest.mark.parametrize(
    ("name", "text"),
    [(".env", "PATH=x\n"), ("prefect.toml", "\n"), ("pyproject.toml", "[tool.ruff]\n"), ("pyproject.toml", "")],
)
def test_other_settings_in_the_working_directory_are_none_of_our_business(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert run(["resume", "last"]) == 2
    assert "Prefect" not in capsys.readouterr().err


def test_no_file_of_the_working_directory_says_where_keys_are_sent(tmp_path: Path):
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\n")
    code = (
        "from flows.environment import prepare; prepare()\n"
        "from tasks.sample.provider import litellm_module; litellm_module()\n"
        "import os; print(os.environ.get('OPENAI_BASE_URL'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
