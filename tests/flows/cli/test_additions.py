"""Problems with additional files and packages, from `check` to a resumed night."""

from __future__ import annotations

from pathlib import Path

import docker
import pytest

from overnight.flows.start.create_run import create_run
from overnight.flows.start.sandboxes import image_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from tests.flows.cli.conftest import Command

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

SPECIFICATION = '''"""Guess a number."""
# /// script
# [tool.overnight]
# inputs = [0, 1]
# files = ["target.txt", "measure.py"]
#
# [tool.overnight.search]
# algorithm.islands = 1
# prompts = 2
# samples = 1
# ///
import funsearch
import measure


@funsearch.run
def evaluate(offset):
    return measure.nearness(guess(offset) - offset)


@funsearch.evolve
def guess(offset):
    return offset + 1.0
'''
MEASURE = "def nearness(x):\n    return -abs(x - float(open('target.txt').read()))\n"


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    for name, text in {"near.py": SPECIFICATION, "measure.py": MEASURE, "target.txt": "10\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "near.py"


def remove_image(name: str) -> None:
    """Remove the image that was built for the problem."""
    client = docker.from_env()
    client.images.remove(name)
    client.close()


@pytest.mark.slow
def test_a_resumed_run_uses_the_files_that_it_was_started_with(overnight: Command, prefect_api: str, problem: Path):
    loaded = load_problem(problem)
    create_run(loaded, problem, LocalBackend(problem.parent / "history"), seed=1)
    (problem.parent / "target.txt").write_text("1000\n")
    (problem.parent / "measure.py").unlink()
    environment = {"OVERNIGHT_HISTORY": str(problem.parent / "history"), "PREFECT_API_URL": prefect_api}
    done = overnight("resume", "last", "--generations", "1", **environment)
    remove_image(image_of(loaded))
    assert done.returncode == 0, done.stderr
    assert "warning: measure.py, target.txt changed since the run was started" in " ".join(done.stderr.split())
    best = overnight("sql", "SELECT min(start_score), max(best_score) FROM runs", "--format", "csv", **environment)
    start, found = best.stdout.splitlines()[1].split(",")
    assert float(start) == -9
    assert -9 <= float(found) <= 0
