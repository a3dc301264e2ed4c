"""Reading one program: its facts, its difference to another, its line from the start, why it was kept or dropped."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tasks.history.database import Database
from tests.flows.cli.conftest import Command

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


@pytest.fixture(scope="module")
def database(finished_history: tuple[Path, str]) -> Database:
    return Database(finished_history[0])


def one(database: Database, where: str) -> dict:
    found = database.rows(f"FROM programs WHERE {where} ORDER BY generation, index LIMIT 1")
    assert found, f"the run has a program with {where}"
    return found[0]


def test_diff_of_one_program_is_what_its_better_parent_lacks(overnight: Command, database: Database):
    child = one(database, "generation = 1 AND outcome = 'scored'")
    done = overnight("diff", child["program_id"])
    assert done.returncode == 0, done.stderr
    old, new, *lines = done.stdout.splitlines()
    assert old.startswith(f"--- {child['parent_ids'][-1]}")
    assert new.startswith(f"+++ {child['program_id']}")
    added = {line[1:].strip() for line in lines if line.startswith("+")}
    assert added
    assert added <= {line.strip() for line in child["body"].splitlines()}


def test_diff_of_two_is_the_reverse_of_the_other_way_round(overnight: Command, database: Database):
    one_id, two_id = (row["program_id"] for row in (one(database, "generation = 0"), one(database, "generation = 2")))
    there, back = (overnight("diff", *pair).stdout.splitlines()[2:] for pair in ((one_id, two_id), (two_id, one_id)))
    swapped = {"+": "-", "-": "+"}
    assert sorted(swapped.get(line[:1], line[:1]) + line[1:] for line in there if line[0] != "@") == sorted(
        line for line in back if line[0] != "@"
    )
    assert overnight("diff", one_id, one_id).stderr == "no difference\n"


def test_the_start_program_has_no_parent_to_differ_from(overnight: Command, database: Database):
    done = overnight("diff", one(database, "generation = 0")["program_id"])
    assert done.returncode == 2
    assert "has no parent" in done.stderr


def test_lineage_leads_from_the_start_program_to_it(overnight: Command, database: Database):
    last = database.rows("FROM programs WHERE outcome = 'scored' ORDER BY generation DESC LIMIT 1")[0]
    done = overnight("lineage", last["program_id"])
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert lines[0][0] == "0"
    assert lines[-1][2] == last["program_id"]
    parents = {row["program_id"]: row["parent_ids"] for row in database.rows("FROM programs")}
    assert all(before[2] in parents[after[2]] for before, after in pairwise(lines))
    steps = overnight("lineage", last["program_id"], "--diffs").stdout
    assert steps.count("\n+++ ") == len(lines) - 1


def test_explain_says_why_a_program_was_kept(overnight: Command, database: Database):
    best = database.rows("FROM programs WHERE outcome = 'scored' AND generation > 0 ORDER BY score DESC LIMIT 1")[0]
    said = overnight("explain", best["program_id"]).stdout
    assert f"on island {best['island']}" in said
    assert f"scored {best['score']:.6g}" in said
    assert f"Kept: it joined island {best['island']}" in said
    assert "best of the run before" in said


def test_explain_says_why_a_program_was_dropped(overnight: Command, database: Database):
    twin = one(database, "outcome = 'duplicate'")
    said = overnight("explain", twin["program_id"]).stdout
    first = one(database, f"code_hash = '{twin['code_hash']}' AND outcome <> 'duplicate'")
    assert "Dropped" in said
    assert first["program_id"] in said
    assert "It is the start program" in overnight("explain", one(database, "generation = 0")["program_id"]).stdout


def test_a_program_that_is_not_there_is_no_traceback(overnight: Command):
    for command in ("show", "diff", "lineage", "explain"):
        done = overnight(command, "zzz")
        assert done.returncode == 2
        assert "no program 'zzz'" in done.stderr
        assert "overnight best last" in done.stderr


def test_best_is_run_once_more_before_it_is_written(
    overnight: Command, finished_history: tuple[Path, str], tmp_path: Path
):
    done = overnight("best", "last", "--write", str(tmp_path / "best.py"))
    assert done.returncode == 0, done.stderr
    assert "run once more" in done.stderr
    nowhere = overnight("best", "last", "--write", str(tmp_path / "other.py"), DOCKER_HOST="unix:///nowhere.sock")
    assert nowhere.returncode == 3
    assert not (tmp_path / "other.py").exists()
    blind = overnight(
        "best", "last", "--write", str(tmp_path / "other.py"), "--unchecked", DOCKER_HOST="unix:///nowhere.sock"
    )
    assert blind.returncode == 0
    assert json.dumps((tmp_path / "other.py").read_text()) == json.dumps((tmp_path / "best.py").read_text())
