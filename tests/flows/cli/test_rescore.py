"""`overnight rescore`: survivors are scored in a new run, which can continue; the old run is unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import describe
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, runs_in
from overnight.tasks.history.local_backend import LocalBackend
from tests.flows.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("plain")

_PAIRS = """
SELECT old.score AS was, new.score, new.outcome, new.body, new.scores
FROM programs AS new JOIN programs AS old ON old.program_id = new.parent_ids[1]
WHERE new.run_id = ? AND new.generation = 1
"""


@pytest.fixture
def history(finished_history: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished history, to which a new run may be added."""
    import shutil

    shutil.copytree(finished_history[0], tmp_path / "history")
    return tmp_path / "history"


def newest(history: Path, old: RunFiles) -> RunFiles:
    """Return the only other run of the history."""
    (new,) = [files for files in runs_in(LocalBackend(history)) if files.run_id != old.run_id]
    return new


def test_survivors_are_scored_on_other_inputs_and_the_new_run_continues_from_them(here: Command, history: Path):
    (old,) = runs_in(LocalBackend(history))
    before = describe(old)
    done = here(["rescore", old.run_id, "--inputs", "[0, 1, 5]"], history)
    assert done.returncode == 0, done.stderr
    assert describe(old) == before, "the old run is untouched"
    new = newest(history, old)
    pairs = Database(history).rows(_PAIRS, [new.run_id])
    survivors = {program.body for program in stored_run.read_run_history(old).programs.values()}
    assert {row["body"] for row in pairs} <= survivors
    assert len(pairs) == len({row["body"] for row in pairs}) > 0
    assert all(len(row["scores"]) == 3 for row in pairs if row["outcome"] == "scored")
    assert f"{len(pairs)} programs, {sum(row['score'] is not None for row in pairs)} scored" in done.stderr
    best = max(row["score"] for row in pairs if row["score"] is not None)
    (run,) = Database(history).rows("FROM runs WHERE run_id = ?", [new.run_id])
    assert (run["rescored_from"], run["generations"], run["best_score"]) == (old.run_id, 1, best)
    assert (run["cost_usd"], run["seed"]) == (0.0, stored_run.read_run(old).seed)

    done = here(["resume", new.run_id, "--generations", "1"], history)
    assert done.returncode == 0, done.stderr
    rescored = {row["program_id"] for row in Database(history).rows("FROM programs WHERE generation = 1")}
    parents = Database(history).rows(
        "SELECT unnest(parent_ids) AS parent FROM programs WHERE run_id = ? AND generation = 2", [new.run_id]
    )
    assert {row["parent"] for row in parents} & rescored, "prompts show the survivors"
    done = here(["report", new.run_id, "--write", str(history / "report.html")], history)
    assert done.returncode == 0, done.stderr
    assert f"overnight rescore {old.run_id} " in (history / "report.html").read_text()
    done = here(["replay", new.run_id], history)
    assert "the same history" in done.stdout, done.stdout + done.stderr


def test_survivors_are_scored_under_a_changed_file(here: Command, history: Path, toy: Path, tmp_path: Path):
    (old,) = runs_in(LocalBackend(history))
    changed = tmp_path / "toy.py"
    changed.write_text(toy.read_text().replace("- 10.0", "- 20.0"))
    done = here(["rescore", "last", str(changed), "--most", "3"], history)
    assert done.returncode == 0, done.stderr
    new = newest(history, old)
    pairs = Database(history).rows(_PAIRS, [new.run_id])
    assert len(pairs) == 3
    assert any(row["score"] != row["was"] for row in pairs)
    assert stored_run.read_run(new).problem.settings.sandbox == stored_run.read_run(old).problem.settings.sandbox
    (row,) = Database(history).rows("FROM generations WHERE run_id = ? AND generation = 1", [new.run_id])
    assert row["best_score"] == max(
        [stored_run.read_run_history(new).start.score, *(p["score"] or -1e9 for p in pairs)]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rescore", "last", "cap-set"], "there it is guess(offset) that evolves, and here it is priority("),
        (["rescore", "last", "--inputs", "[[1, 2, 3]]", "--set", "limits.wal_s=1"], "did you mean"),
        (["rescore", "last", "--most", "0"], "--most: expected 1 or more"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(
    overnight: Command, arguments: list[str], message: str
):
    done = overnight(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
