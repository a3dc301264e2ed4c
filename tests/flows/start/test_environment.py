"""Files of the working directory, which may be a stranger's, decide nothing about keys and flow runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from overnight.flows.cli.main import run
from overnight.flows.environment import prepare, require_neutral_folder
from overnight.schemas.errors import UsageError
from overnight.schemas.sampling_settings import Sampling

SETTINGS = {
    ".env": "OTHER=1\nexport PREFECT_API_URL=http://127.0.0.1:9/api\n",
    "prefect.toml": '[api]\nurl = "http://127.0.0.1:9/api"\n',
    "pyproject.toml": '[tool.prefect]\napi.url = "http://127.0.0.1:9/api"\n',
}


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, "run") for name in SETTINGS),
        *((".env", command) for command in ("resume", "schedule", "doctor", "replay", "retry", "compare")),
    ],
)
def test_settings_of_prefect_in_the_working_directory_are_refused(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / name).write_text(SETTINGS[name])
    monkeypatch.chdir(tmp_path)
    assert run([command]) == 2
    error = capsys.readouterr().err
    assert f"{name} configures Prefect" in error
    assert "prefect config set" in error


NOTATIONS = [
    (".env", "'PREFECT_API_URL'='http://127.0.0.1:9/api'\n"),
    (".env", "OTHER=1\rPREFECT_API_URL=http://127.0.0.1:9/api\r"),
    (".env", "\f\v export \tprefect_api_url=http://127.0.0.1:9/api"),
    ("pyproject.toml", '[tool]\nprefect.api.url = "http://127.0.0.1:9/api"\n'),
    ("pyproject.toml", '[tool]\nother = 1\n[tool."pre\\u0066ect".api]\nurl = "http://127.0.0.1:9/api"\n'),
    ("pyproject.toml", 'tool = {ruff = {}, prefect = {api = {url = "http://127.0.0.1:9/api"}}}\n'),
]

READ = """
import os, sys
from prefect.settings import Settings
for folder in sys.argv[1:]:
    os.chdir(folder)
    print(Settings().api.url)
"""


def test_settings_of_prefect_are_found_in_every_notation(tmp_path: Path):
    folders = [tmp_path / str(number) for number, _ in enumerate(NOTATIONS)]
    for folder, (name, text) in zip(folders, NOTATIONS, strict=True):
        folder.mkdir()
        (folder / name).write_text(text, newline="")
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "home")}
    read = subprocess.run(
        [sys.executable, "-c", READ, *folders], cwd=tmp_path, env=clean, capture_output=True, text=True, check=True
    )
    assert read.stdout.split() == ["http://127.0.0.1:9/api"] * len(NOTATIONS), "meaningful only if Prefect reads it"
    for folder in folders:
        with pytest.raises(UsageError, match="configures Prefect"):
            require_neutral_folder(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy"}, "127.0.0.1,localhost"),
        ({"all_proxy": "socks5://proxy", "NO_PROXY": "a.example, localhost"}, "a.example,localhost,127.0.0.1"),
    ],
)
def test_requests_to_loopback_bypass_every_proxy(
    before: dict[str, str], after: str | None, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    prepare()
    assert (os.environ["no_proxy"] or None, os.environ["NO_PROXY"] or None) == (after, after)


LITELLM = """
from overnight.flows.environment import prepare; prepare()
from overnight.tasks.sample.providers.litellm import litellm_module; litellm_module()
from litellm import constants
import os; print(os.environ.get("OPENAI_BASE_URL"))
print(constants.AIOHTTP_CONNECTOR_LIMIT, constants.AIOHTTP_CONNECTOR_LIMIT_PER_HOST)
"""


def test_litellm_sends_keys_nowhere_that_a_file_names_and_as_many_requests_as_the_settings_allow(tmp_path: Path):
    """Its own limit is 500 requests to a host."""
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\n")
    done = subprocess.run(
        [sys.executable, "-c", LITELLM], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True
    )
    address, *limits = done.stdout.split()
    assert address == "None"
    highest = Sampling.model_json_schema()["properties"]["concurrency"]["anyOf"][0]["maximum"]
    assert min(map(int, limits)) >= highest
