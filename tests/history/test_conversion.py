"""What earlier versions wrote is read under present names; formats of later versions are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.errors import HistoryError
from overnight.schemas.settings import parse_settings
from overnight.tasks.history.atomic_files import format_of, read_file
from overnight.tasks.history.conversion import current_settings, current_table
from overnight.tasks.history.database import Database
from overnight.testing.made import a_problem, create, grow

EARLIER = {"overnight.table": "programs", "overnight.schema_version": "1"}


def test_numbers_of_islands_become_names_of_niches_and_absent_columns_null():
    stored = pa.table({"island": pa.array([3, None], pa.int32()), "model": ["m", "m"]}).replace_schema_metadata(EARLIER)
    found = current_table(stored)
    assert found.schema.equals(tables.PROGRAMS, check_metadata=True)
    assert found.select(["niche", "model", "gain"]).to_pylist() == [
        {"niche": "3", "model": "m", "gain": None},
        {"niche": None, "model": "m", "gain": None},
    ]


def test_a_file_with_both_names_keeps_what_it_says_itself():
    stored = {"island": pa.array([None, 1], pa.int32()), "niche": ["loops 2", "1"]}
    found = current_table(pa.table(stored).replace_schema_metadata(EARLIER), ["niche"])
    assert found.to_pydict() == {"niche": ["loops 2", "1"]}


def test_settings_of_0_1_are_read_under_present_names_and_say_what_it_did():
    search = {"mode": "paper", "islands": 4, "parents": 3, "reset_hours": None, "lookahead": 1, "prompts": 5}
    settings = parse_settings(current_settings({"inputs": [1], "search": search}), "it")
    algorithm = settings.search.algorithm
    assert (algorithm.name, algorithm.parents, settings.search.prompts) == ("funsearch", 3, 5)
    assert (settings.tuner.enabled, settings.search.facts, settings.search.novelty) == (False, False, "layout")
    by_default = parse_settings(current_settings({"search": {"mode": "default", "islands": 4}}), "it").search.algorithm
    assert (by_default.name, by_default.model_dump()["islands"]) == ("islands", 4)


@pytest.mark.parametrize(
    "algorithm",
    [
        {"name": "funsearch", "cluster_temperature": 0.2, "cluster_period": 9, "length_temperature": 2},
        {"name": "islands", "reset_hours": 4},
        {"name": "weighted", "sharpness": 3.0},
        {"name": "tree", "exploration": 2.0, "children": 3},
        {"name": "map-elites", "bins": 4},
    ],
    ids=lambda one: one["name"],
)
def test_settings_that_have_a_fixed_value_now_are_left_out(algorithm: dict[str, Any]):
    search = {"algorithm": algorithm}
    settings = parse_settings(current_settings({"search": search, "tuner": {"max_s": 9}}), "it")
    assert settings.search.algorithm.name == algorithm["name"]


def test_a_plug_in_s_algorithm_keeps_settings_of_these_names():
    search = {"algorithm": {"name": "their-own", "children": 3}}
    assert current_settings({"search": search})["search"]["algorithm"] == search["algorithm"]


def test_present_settings_stay_as_they_are():
    stored = a_problem(prompts=5).settings.model_dump(mode="json")
    assert current_settings(stored) == stored


def test_sql_refuses_a_history_with_a_run_of_a_later_format(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 1)
    database = Database(tmp_path)
    assert format_of(files.run) == tables.FORMAT
    assert len(database.rows("FROM runs")) == 1
    later = create(tmp_path, "20260102-2200-toy-bbbb").run
    pq.write_table(pq.read_table(later).replace_schema_metadata({tables.FORMAT_KEY: "99"}), later)
    for read in (lambda: database.rows("FROM runs"), lambda: read_file(later)):
        with pytest.raises(HistoryError, match=rf"format 99, and this Overnight reads formats up to {tables.FORMAT}"):
            read()
