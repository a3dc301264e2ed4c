"""A specification with several evolved functions, from `run` to the file that `best` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.tasks.history.database import Database
from overnight.tasks.program.read_specification import read_specification
from tests.flows.cli.conftest import call

pytestmark = pytest.mark.usefixtures("plain")

SEVERAL = Path(__file__).parents[2] / "specifications/several.py"


@pytest.mark.slow
def test_several_functions_evolve_are_shown_and_written(tmp_path: Path):
    rules = ["--generations", "4", "--seed", "1"]
    done = call(["run", str(SEVERAL), *rules], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\ndef ") >= 2
    rows = Database(tmp_path).rows("FROM programs WHERE outcome = 'scored' AND generation > 0")
    specification = read_specification(SEVERAL.read_text(), "several.py")
    start = specification.split(specification.start_body)
    bodies = [specification.split(row["body"]) for row in rows]
    assert all(any(body[place] != start[place] for body in bodies) for place in range(2))
    winner = "SELECT program_id, body FROM winners JOIN programs USING (run_id, program_id) WHERE chosen_in = 1"
    (best,) = Database(tmp_path).rows(winner)
    written = tmp_path / "best.py"
    assert call(["best", "last", "--write", str(written)], tmp_path).returncode == 0
    assert read_specification(written.read_text(), "best.py").start_body == best["body"]
    assert call(["show", best["program_id"], "--diff"], tmp_path).stdout.count("\n") > 2
