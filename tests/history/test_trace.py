"""The steps of a run as lines of JSON: in OpenEvolve's form, true to the history, and of one schema."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.json
import pytest

from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.history.database import Database
from overnight.tasks.history.trace import write_trace
from overnight.testing.made import a_problem, create, grow

CODE_OF = a_problem().specification.function_text

OPENEVOLVE = {
    *(
        "iteration",
        "timestamp",
        "parent_id",
        "child_id",
        "parent_metrics",
        "child_metrics",
        "parent_code",
        "child_code",
    ),
    *("parent_changes_description", "child_changes_description", "code_diff", "prompt", "llm_response"),
    *("improvement_delta", "island_id", "generation", "artifacts", "metadata"),
}
"""Fields of OpenEvolve's `EvolutionTrace`, version 0.4.1."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    files = create(tmp_path / "history", islands=2, prompts=3)
    grow(files, 4)
    other = create(tmp_path / "history", "20260102-2200-toy-bbbb")
    grow(other, 1)
    return Database(files.backend.root)


def test_each_child_of_the_run_is_a_step_from_its_best_parent(database: Database, tmp_path: Path):
    (run,) = database.rows("FROM runs WHERE problem = 'toy' ORDER BY run_id LIMIT 1")
    target = tmp_path / "steps.jsonl"
    steps = write_trace(database, run["run_id"], target, CODE_OF)
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert steps == len(lines) == run["samples"]
    assert [line["iteration"] for line in lines] == list(range(1, steps + 1))
    programs = {row["program_id"]: row for row in database.rows("FROM programs")}
    for line in lines:
        child, parent = programs[line["child_id"]], programs[line["parent_id"]]
        assert set(line) <= OPENEVOLVE
        assert line["parent_id"] == child["parent_ids"][-1]
        assert line["parent_code"].startswith("def guess(")
        assert line["parent_code"].endswith(f"    {parent['body']}")
        assert line["child_code"].endswith(f"    {child['body']}" if child["body"] else "")
        assert bool(line["child_code"]) == bool(child["body"])
        assert (line["prompt"], line["llm_response"]) == ({"user": child["prompt"]}, child["completion"])
        assert line["child_metrics"] == {"combined_score": child["score"]}
        gain = None if child["score"] is None else child["score"] - parent["score"]
        assert line["improvement_delta"] == {"combined_score": gain}
        assert line["artifacts"]["outcome"] == child["outcome"]
        assert line["island_id"] == int(child["niche"])
    assert {line["metadata"]["run_id"] for line in lines} == {run["run_id"]}


def test_readers_that_infer_a_schema_read_all_lines(database: Database, tmp_path: Path):
    """Hugging Face's `datasets` reads lines of JSON by this reader, in blocks, of which each has to have the schema."""
    (run,) = database.rows("FROM runs ORDER BY run_id LIMIT 1")
    target = tmp_path / "steps.jsonl"
    steps = write_trace(database, run["run_id"], target, CODE_OF)
    assert pyarrow.json.read_json(target).num_rows == steps
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert len({json.dumps([*line, *line["metadata"], *line["artifacts"]]) for line in lines}) == 1


def test_a_file_that_cannot_be_written_leaves_nothing(database: Database, tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_trace(database, "20260101-2200-toy-aaaa", tmp_path / "nowhere/steps.jsonl", CODE_OF)
    assert [path.name for path in tmp_path.iterdir()] == ["history"]
