"""The gallery shows what its commands found: problems of ours that draw, with pictures that the border lets through."""

from __future__ import annotations

import re

from overnight.flows.cli.main import app
from overnight.tasks.problems import find_builtin
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.report.sanitised_svg import sanitise
from tests.report.gallery import PAGE, PICTURES, SHOWN, command_of


def test_each_problem_of_the_gallery_has_its_command_and_a_picture_of_start_and_best():
    text = PAGE.read_text()
    for problem in SHOWN:
        settings = load_problem(find_builtin(problem)).settings
        section = text.partition(f"## {settings.title}\n")[2].partition("\n## ")[0]
        assert f"`{' '.join(command_of(problem))}`" in section
        assert re.findall(r'<img src="([^"]+)"', section) == [
            f"gallery/{problem}-start.svg",
            f"gallery/{problem}-best.svg",
        ]


def test_its_commands_are_understood():
    for problem in SHOWN:
        command, _, _ = app.parse_args(command_of(problem)[1:], exit_on_error=False)
        assert command.__name__ == "run"


def test_its_pictures_are_safe_and_small_and_no_others_are_kept():
    shown = {f"{problem}-{name}.svg" for problem in SHOWN for name in ("start", "best")}
    assert {path.name for path in PICTURES.iterdir()} == shown
    for path in PICTURES.iterdir():
        svg = path.read_text()
        assert sanitise(svg) == svg, path.name
        assert len(svg) < 200_000, path.name
