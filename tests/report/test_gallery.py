"""The gallery shows what recorded nights found: each with its command, its program, and pictures that are safe."""

from __future__ import annotations

import re

import pytest

from overnight.flows.cli.main import app
from overnight.tasks.problems import recorded
from overnight.tasks.report.sanitised_svg import sanitise
from tests.report.gallery import PAGE, PICTURES, result_of


@pytest.mark.parametrize("problem", recorded.names())
def test_each_recorded_night_has_its_command_its_result_its_program_and_its_pictures(problem: str):
    text = PAGE.read_text()
    (section,) = [part for part in text.split("\n## ") if f"`overnight import {problem}`" in part]
    assert result_of(problem) in section, "run `python -m tests.report.gallery`"
    assert recorded.note(problem) in section
    assert re.search(r"```python\n(.*\n)*?def ", section), "what stands beside the function may come first"
    for name in re.findall(r'<img src="gallery/([^"]+)"', section):
        assert name in (f"{problem}-start.svg", f"{problem}-best.svg")
        assert (PICTURES / name).is_file()


def test_its_commands_are_understood():
    for line in re.findall(r"^`overnight (import .+)`$", PAGE.read_text(), re.MULTILINE):
        command, _, _ = app.parse_args(line.split(), exit_on_error=False)
        assert command.__name__ == "import_run"


def test_its_pictures_are_safe_and_small_and_all_are_shown():
    shown = set(re.findall(r'<img src="gallery/([^"]+)"', PAGE.read_text()))
    assert {path.name for path in PICTURES.iterdir()} == shown
    for path in PICTURES.iterdir():
        svg = path.read_text()
        assert sanitise(svg) == svg, path.name
        assert len(svg) < 200_000, path.name
