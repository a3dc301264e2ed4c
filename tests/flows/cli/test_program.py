"""`show` with its views, and `best`, on one program."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from overnight.flows.start import sandboxes
from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.history.database import Database
from overnight.tasks.program.read_specification import read_specification
from overnight.testing.made import create
from tests.flows.cli.conftest import Command, call

pytestmark = pytest.mark.usefixtures("plain")


@pytest.fixture(scope="module")
def database(finished_history: tuple[Path, str]) -> Database:
    return Database(finished_history[0])


def program(database: Database, where: str) -> dict:
    """Return the first program that meets a condition."""
    found = database.rows(f"FROM programs WHERE {where} ORDER BY generation, index LIMIT 1")
    assert found, f"the run has a program with {where}"
    return found[0]


def test_diff_of_one_program_compares_it_with_its_better_parent(overnight: Command, database: Database):
    child = program(database, "generation = 1 AND outcome = 'scored'")
    done = overnight("show", child["program_id"], "--diff")
    assert done.returncode == 0, done.stderr
    old, new, *lines = done.stdout.splitlines()
    assert old.startswith(f"--- {child['parent_ids'][-1]}")
    assert new.startswith(f"+++ {child['program_id']}")
    added = {line[1:].strip() for line in lines if line.startswith("+")}
    assert added
    assert added <= {line.strip() for line in child["body"].splitlines()}


def test_diff_of_two_programs_is_reversed_when_they_are_swapped(overnight: Command, database: Database):
    old_id, new_id = (program(database, f"generation = {number}")["program_id"] for number in (0, 2))
    forward, backward = (
        overnight("show", *pair, "--diff").stdout.splitlines()[2:] for pair in ((old_id, new_id), (new_id, old_id))
    )
    swapped = {"+": "-", "-": "+"}
    assert sorted(swapped.get(line[:1], line[:1]) + line[1:] for line in forward if line[0] != "@") == sorted(
        line for line in backward if line[0] != "@"
    )
    assert overnight("show", old_id, old_id, "--diff").stderr == "no difference\n"


def test_diff_of_the_start_program_needs_a_second_program(overnight: Command, database: Database):
    done = overnight("show", program(database, "generation = 0")["program_id"], "--diff")
    assert done.returncode == 2
    assert "has no parent" in done.stderr


def test_lineage_leads_from_the_start_program_to_the_given_one(overnight: Command, database: Database):
    last = database.rows("FROM programs WHERE outcome = 'scored' ORDER BY generation DESC LIMIT 1")[0]
    done = overnight("show", last["program_id"], "--lineage")
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert lines[0][0] == "0"
    assert lines[-1][2] == last["program_id"]
    parents = {row["program_id"]: row["parent_ids"] for row in database.rows("FROM programs")}
    assert all(before[2] in parents[after[2]] for before, after in pairwise(lines))
    steps = overnight("show", last["program_id"], "--lineage", "--diff").stdout
    assert steps.count("\n+++ ") == len(lines) - 1


def test_explain_says_why_a_program_was_kept(overnight: Command, database: Database):
    best = database.rows("FROM programs WHERE outcome = 'scored' AND generation > 0 ORDER BY score DESC LIMIT 1")[0]
    text = overnight("show", best["program_id"], "--why").stdout
    assert f"in niche {best['niche']}" in text
    assert f"scored {best['score']:.6g}" in text
    assert f"Kept: it joined niche {best['niche']}" in text
    assert "best of the run before" in text


def test_explain_says_why_a_program_was_dropped(overnight: Command, database: Database):
    duplicate = program(database, "outcome = 'duplicate'")
    text = overnight("show", duplicate["program_id"], "--why").stdout
    original = program(database, f"code_hash = '{duplicate['code_hash']}' AND outcome <> 'duplicate'")
    assert "Dropped" in text
    assert original["program_id"] in text
    start = program(database, "generation = 0")["program_id"]
    assert "It is the start program" in overnight("show", start, "--why").stdout


def test_best_without_a_run_shows_that_of_the_last_one(overnight: Command):
    assert overnight("best").stdout == overnight("best", "last").stdout != ""


def test_best_of_a_run_that_found_nothing_says_that_it_is_the_start_program(overnight: Command, tmp_path: Path):
    note = "it is the start program"
    create(tmp_path / "history")
    assert note in call(["best"], tmp_path / "history").stderr
    assert note not in overnight("best").stderr


def test_best_is_evaluated_once_more_before_it_is_written(
    overnight: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: object, **__: object) -> None:
        raise SandboxUnavailable("the engine is gone")

    done = overnight("best", "last", "--write", str(tmp_path / "best.py"))
    assert done.returncode == 0, done.stderr
    assert "evaluated once more" in done.stderr
    body = read_specification((tmp_path / "best.py").read_text(), "best.py").start_body
    assert body.splitlines()[-1].strip() in overnight("best", "last").stdout
    again = overnight("best", "last", "--write", str(tmp_path / "best.py"))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    assert "evaluated once more" not in again.stderr, "nothing is evaluated that cannot be written"
    monkeypatch.setattr(sandboxes, "open_pool", gone)
    assert overnight("best", "last", "--write", str(tmp_path / "other.py")).returncode == 3
    assert not (tmp_path / "other.py").exists()
    unchecked = overnight("best", "last", "--write", str(tmp_path / "other.py"), "--unchecked")
    assert unchecked.returncode == 0
    assert json.dumps((tmp_path / "other.py").read_text()) == json.dumps((tmp_path / "best.py").read_text())
