"""A problem that is a directory, from `check` to its best file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.flows.cli.conftest import Command

HILL = Path(__file__).parents[2] / "specifications" / "hill"

pytestmark = pytest.mark.usefixtures("plain")


def test_check_names_the_evolved_file_and_its_scoring_and_proposes_limits_for_its_file(overnight: Command):
    done = overnight("check", "--without-pace", str(HILL))
    assert done.returncode == 0, done.stderr
    assert "evolves climb.py, scored by 'height' of `python3 {program} {input}`" in done.stderr
    assert "confirmed: run again, in a fresh container" in done.stderr
    # The time to start Python depends on the load of the machine, and its memory on what the machine has read before.
    assert re.search(r"\n\[limits\]\nwall_s = \d+\ncpu_s = \d\nmemory_mib = (64|128)\n$", done.stdout), done.stdout
    assert "to replace [limits] in overnight.toml" in done.stderr


def test_a_command_draws_with_files_that_it_names(overnight: Command, tmp_path: Path):
    shutil.copytree(HILL, tmp_path / "hill")
    settings = tmp_path / "hill" / "overnight.toml"
    draw = 'draw = ["python3", "draw.py", "{program}", "{input}"]'
    settings.write_text(settings.read_text().replace("[command]", f"[command]\n{draw}"))
    title = "f'<title>{sys.argv[1][-8:]} on {sys.argv[2]}</title>'"
    (tmp_path / "hill" / "draw.py").write_text(
        f"import sys\nprint('<svg viewBox=\"0 0 30 20\">' + {title} + '<script/></svg>')\n"
    )
    done = overnight("check", "--without-pace", str(tmp_path / "hill"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"draws the start program, 30 x 20: climb\.py on \d", done.stderr), done.stderr
    (tmp_path / "hill" / "draw.py").write_text("raise SystemExit('no colours left')")
    done = overnight("check", "--without-pace", str(tmp_path / "hill"))
    assert done.returncode == 0, done.stderr
    assert "no colours left" in done.stderr
