"""Repositories of several layouts become rows of one table; what is missing is said, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench.real_answers import store
from tests.bench.real_answers.__main__ import main
from tests.real_answers.stand_ins import CHILD, CLONES, EDIT, PARENT, RUN, SHINKA, write_clone

CLONES_VARIABLE = "OVERNIGHT_REAL_ANSWERS"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of all stand-ins."""
    root = tmp_path_factory.mktemp("real")
    for name, files in CLONES.items():
        write_clone(root / "clones" / name, files)
    main(["build", "--clones", str(root / "clones"), "--out", str(root / "store")])
    return root / "store"


def select(folder: Path, query: str) -> list[dict[str, Any]]:
    return list(store.rows(store.connect(folder), query))


def test_a_child_of_shinkaevolve_has_its_parent_answer_and_outcome(folder: Path):
    *rows, earlier = select(folder, "SELECT * FROM answers WHERE source = 'shinka' ORDER BY body = '', sample")
    assert (earlier["outcome"], earlier["form"], earlier["parent"]) == ("unparsable", "edits", CHILD)
    assert [row["outcome"] for row in rows] == ["scored", "scored", "crashed"]
    assert [row["parent"] for row in rows] == ["", PARENT, CHILD]
    assert [row["parent_key"] for row in rows] == ["", "gen_0", "gen_1"]
    assert [row["form"] for row in rows[1:]] == ["edits", "whole"]
    assert rows[1]["completion"] == EDIT
    assert (rows[1]["model"], rows[1]["problem"], rows[1]["is_pinned"]) == ("gpt5", "prism", False)
    assert rows[1]["body_hash"] == rows[2]["parent_hash"]


def test_a_program_that_several_checkpoints_have_is_one_row(folder: Path):
    rows = select(folder, "SELECT * FROM answers WHERE source = 'openevolve' ORDER BY sample")
    assert [(row["key"], row["outcome"], row["repeats"]) for row in rows] == [
        ("0", "scored", 1),
        ("1", "scored", 2),
        ("2", "crashed", 1),
    ]
    assert (rows[1]["score"], rows[1]["parent_score"], rows[1]["parent"]) == (2.5, 1.5, PARENT)
    assert rows[1]["prompt"] == "Pack.\n\nImprove it."


def test_samples_and_survivors_of_eoh_are_told_apart(folder: Path):
    rows = select(folder, "SELECT * FROM answers WHERE source = 'eoh' ORDER BY sample NULLS LAST")
    assert [(row["sample"], row["outcome"], row["score"]) for row in rows] == [
        (1, "scored", -4.0),
        (2, "unparsable", None),
        (None, "scored", -0.5),
    ]
    assert (rows[2]["problem"], rows[2]["model"], rows[2]["repeats"]) == ("bin_packing_weibull", "gpt-3.5-turbo", 2)


def test_numbers_that_a_history_of_levi_leaves_out_failed(folder: Path):
    rows = select(folder, "SELECT * FROM answers WHERE source = 'levi' ORDER BY sample NULLS LAST")
    assert [(row["outcome"], row["accepted"]) for row in rows] == [
        ("scored", True),
        ("crashed", None),
        ("scored", False),
        ("scored", True),
    ]


def test_our_own_answers_are_there_without_a_clone(folder: Path):
    query = "SELECT run_id, count(*) FILTER (sample > 0) AS answers, count(*) FILTER (sample = 0) AS specifications"
    rows = select(folder, f"{query} FROM answers WHERE source = 'overnight' GROUP BY run_id")
    assert [(row["answers"], row["specifications"]) for row in rows] == [(48, 1)] * 6
    query = "SELECT outcome, count(*) AS n FROM answers WHERE source = 'overnight' AND sample > 0 GROUP BY ALL"
    outcomes = select(folder, query)
    assert {row["outcome"]: row["n"] for row in outcomes} == {"scored": 285, "unconfirmed": 2, "duplicate": 1}


def test_children_are_evaluated_again_once(folder: Path, processes: None, capsys: pytest.CaptureFixture[str]):
    clones = str(folder.parent / "clones")
    command = ["evaluate", "--clones", clones, "--out", str(folder), "--problem", "prism"]
    main([*command, "--seconds", "0"])
    main(command)
    main(command)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" in ")[0] for line in said] == [
        "prism: 0 evaluated",
        "prism: 3 evaluated",
        "prism: 0 evaluated",
    ]
    query = "SELECT verdict, told, parent_told FROM answers WHERE source = 'shinka' AND body <> '' ORDER BY sample"
    assert [tuple(row.values()) for row in select(folder, query)] == [
        ("scored", 1.0, None),
        ("scored", 2.0, 1.0),
        ("scored", 3.0, 2.0),
    ]
    main(["evaluate", "--clones", clones, "--out", str(folder), "--problem", "txn_scheduling"])
    assert "txn_scheduling: left out: txn_scheduling: expected" in capsys.readouterr().err


def test_what_is_missing_or_odd_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clone = write_clone(tmp_path / "ShinkaEvolve", SHINKA)
    tree = subprocess.run(
        ["git", "-C", str(clone), "rev-parse", f"HEAD:{RUN}/gen_1/main.py"], check=True, capture_output=True, text=True
    )
    (clone / ".git/objects" / tree.stdout[:2] / tree.stdout.strip()[2:]).unlink()
    (tmp_path / "levi").mkdir()
    main(["build", "--clones", str(tmp_path), "--out", str(tmp_path / "store")])
    said = capsys.readouterr().err
    assert "shinka: 3 rows" in said
    assert "shinka: expected commit 2176746" in said
    assert "shinka: 2 files: not in the clone" in said
    assert "shinka: 1 files: children without a program" in said
    assert "openevolve: left out: expected a clone" in said
    assert "levi: left out" in said


def test_no_store_is_an_error(tmp_path: Path):
    with pytest.raises(SystemExit, match="build --out"):
        main(["sql", "--out", str(tmp_path), "SELECT 1"])


def test_sql_prints_a_table(folder: Path, capsys: pytest.CaptureFixture[str]):
    query = "SELECT count(*) AS n FROM answers WHERE completion <> '' AND source <> 'overnight'"
    main(["sql", "--out", str(folder), query])
    assert capsys.readouterr().out.split() == ["n", "5"]


@pytest.mark.skipif(CLONES_VARIABLE not in os.environ, reason=f"{CLONES_VARIABLE} names no folder of clones")
@pytest.mark.heavy
def test_the_public_repositories_have_what_the_tables_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main(["build", "--clones", os.environ[CLONES_VARIABLE], "--out", str(tmp_path)])
    counts = dict(store.connect(tmp_path).execute("SELECT source, count(*) FROM answers GROUP BY ALL").fetchall())
    assert counts == {"overnight": 294, "shinka": 1910, "openevolve": 587, "eoh": 11386, "levi": 24695}
    assert "expected" not in capsys.readouterr().err
