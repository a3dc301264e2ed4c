"""The README is true: each of its commands runs, every setting, command and view is in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from flows.cli.main import _COMMANDS
from flows.stop_conditions import StopConditions
from schemas.outcome import Outcome
from schemas.settings import Model, Settings, setting_names
from schemas.views import MACROS, VIEWS
from tests.history.made import create, grow
from tests.provider import Provider

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The `overnight` commands in order, nights cut short and seeded."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("overnight ")]
    lines = [line + " --generations 1" * line.startswith(("overnight run ", "overnight resume ")) for line in lines]
    return [line + " --seed 1" * (line.startswith("overnight run ") and "--seed" not in line) for line in lines]


@pytest.mark.docker
@pytest.mark.prefect
@pytest.mark.timeout(900)
def test_every_command_runs_in_the_order_of_reading(tmp_path: Path, prefect_api: str, provider: Provider):
    (specification,) = blocks("python")
    (tmp_path / "spread.py").write_text(specification)
    environment = {
        **os.environ,
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "PREFECT_API_URL": prefect_api,
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": provider.api_base,
    }
    environment.pop("OVERNIGHT_HISTORY", None)
    assert len(commands()) >= 10
    for command in commands():
        command = command.replace("http://127.0.0.1:8000/v1", provider.api_base)
        command = re.sub(r"--generations \d+ (.*--generations)", r"\1", command)
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
    assert provider.requests, "a model was asked over HTTP"


def test_the_two_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in {*targets, *re.findall(r"`make (\w+)`", README)}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_setting_is_listed_with_its_meaning():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| .*? \| (.*) \|$", README, re.MULTILINE))
    assert set(setting_names()) <= set(rows)
    for name, info in Settings.model_fields.items():
        if name in rows:
            assert rows[name] == info.description


def test_every_key_of_a_model_is_listed_with_its_meaning():
    rows = dict(re.findall(r"^\| `([\w.]+)` \| .*? \| (.*) \|$", README, re.MULTILINE))
    assert {name: rows[name] for name in Model.model_fields} == {
        name: info.description for name, info in Model.model_fields.items()
    }


def test_every_rule_is_listed():
    for name in StopConditions.model_fields:
        assert f"| `--{name.removesuffix('_usd').removesuffix('_s').replace('_', '-')} " in README


def test_defaults_in_the_table_are_the_defaults():
    listed = dict(re.findall(r"^\| `([\w.]+)` \| `(.*?)` \|", README, re.MULTILINE))
    settings = Settings().model_dump()
    for name in setting_names():
        value = settings
        for part in name.split("."):
            value = value[part]
        if value not in ("", (), None) and name != "sampling.models":
            assert listed[name] == str(value), name


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_in_the_list_that_the_readme_names(view: str):
    assert "(schemas/sql/README.md)" in README
    listed = (ROOT / "schemas/sql/README.md").read_text().split(f"\n## {view}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", listed, re.MULTILINE)
    assert rows == [(name, meaning.replace("|", "\\|")) for name, meaning in VIEWS[view].columns.items()]


def test_other_tools_read_the_files_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    history_to_read = tmp_path / "history"
    grow(create(history_to_read, islands=2, prompts=3), 2)
    monkeypatch.chdir(tmp_path)
    (query,), (program,) = blocks("sql"), blocks("py")
    with duckdb.connect() as plain:
        assert plain.sql(query).fetchall()
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint(programs.num_rows)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "7\n"


def test_every_command_view_macro_and_outcome_is_named():
    for name in _COMMANDS:
        assert f"`overnight {name}" in README
    for name in (*VIEWS, *(outcome.value for outcome in Outcome)):
        assert f"| `{name}` |" in README
    for macro in MACROS.values():
        assert f"| `{macro.call}` | {macro.description} |" in README
    for name, view in VIEWS.items():
        assert f"| `{name}` | {view.description} |" in README
