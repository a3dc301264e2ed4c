"""What `--help` shows: commands and options in groups, and the eight commands that one needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from overnight.flows.cli.main import COMMANDS, app, run


def page(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run([*arguments, "--help"]) == 0
    return capsys.readouterr().out


def test_commands_are_in_groups_and_eight_are_marked(capsys: pytest.CaptureFixture[str]):
    shown = page(capsys)
    groups = re.findall(r"^╭─ (.+?) ─", shown, re.MULTILINE)
    assert groups == ["Start", "Search", "Look", "Every night", "History", "Several machines", "Other"]
    marked = re.findall(r"^│ (\S+) +\* ", shown, re.MULTILINE)
    assert marked == ["init", "check", "run", "resume", "watch", "best", "report", "sql"]
    listed = re.findall(r"^│ ([a-z]+) {2,}", shown, re.MULTILINE)
    assert listed == list(COMMANDS)


def test_exit_codes_are_listed(capsys: pytest.CaptureFixture[str]):
    shown = " ".join(page(capsys).partition("Exit codes: ")[2].split())
    assert shown.startswith("0 done; 1 the search")
    assert shown.endswith("130 interrupted by Ctrl-C; 143 ended by SIGTERM.")


def test_options_of_a_run_are_in_groups(capsys: pytest.CaptureFixture[str]):
    groups = re.split(r"^╭─ (.+?) ─", page(capsys, "run"), flags=re.MULTILINE)
    options = dict(zip(groups[1::2], groups[2::2], strict=True))
    assert list(options) == [
        "Arguments",
        "Stop conditions (the first one that is met ends the night)",
        "Models",
        "Evaluation",
        "Notifications",
        "Options",
    ]
    assert "--budget" in options["Stop conditions (the first one that is met ends the night)"]
    assert "--api-base" in options["Models"]


@pytest.mark.parametrize("command", [*COMMANDS, "schedule add", "schedule change", "cluster worker"])
def test_every_flag_has_a_text(command: str):
    found = app
    for name in command.split():
        found = found[name]
    if found.default_command is not None:
        arguments = found.assemble_argument_collection(parse_docstring=True)
        assert [one.name for one in arguments.filter_by(show=True) if not one.parameter.help] == []


def test_completion_is_installed_for_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert run(["--install-completion", "--shell", "bash"]) == 0
    (script,) = [path for path in tmp_path.rglob("overnight") if path.is_file()]
    assert "--total-budget" in script.read_text()
    assert str(script) in capsys.readouterr().out
