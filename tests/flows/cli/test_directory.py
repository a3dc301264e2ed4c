"""A problem that is a directory, from `check` to its best file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.cli.conftest import Command

HILL = Path(__file__).parents[2] / "specifications" / "hill"

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


def test_check_names_the_evolved_file_and_its_scoring(overnight: Command):
    done = overnight("check", str(HILL))
    assert done.returncode == 0, done.stderr
    assert "evolves climb.py, scored by 'height' of `python3 {program} {input}`" in done.stderr
    assert "confirmed: run again, in a fresh container" in done.stderr


def test_a_night_writes_a_better_file(overnight: Command, prefect_api: str, tmp_path: Path):
    history = {"OVERNIGHT_HISTORY": str(tmp_path / "history")}
    done = overnight(
        "run",
        str(HILL),
        "--target",
        "-4.4",
        "--generations",
        "20",
        "--seed",
        "3",
        PREFECT_API_URL=prefect_api,
        **history,
    )
    assert done.returncode == 0, done.stderr
    assert "stopped by: target" in done.stderr
    assert overnight("best", "last", "--write", str(tmp_path / "best.py"), **history).returncode == 0
    start, best = (HILL / "climb.py").read_text(), (tmp_path / "best.py").read_text()
    assert best != start
    assert best.partition("# EVOLVE-BLOCK-END")[2] == start.partition("# EVOLVE-BLOCK-END")[2]
