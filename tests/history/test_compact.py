"""Compaction changes nothing but the number of files: no reader sees a row twice or not at all, whoever is killed."""

from __future__ import annotations

import errno
import math
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from schemas import tables
from schemas.errors import EnvironmentFault, HistoryError
from schemas.views import VIEWS
from tasks.history import compact as compaction
from tasks.history import record
from tasks.history.atomic_files import read_file, write_file
from tasks.history.compact import FULL, compact
from tasks.history.database import Database
from tasks.history.run_lock import run_lock
from tests.history import compactor
from tests.history.made import a_generation, a_judged, create, grow, portrait, rebuilt
from tests.history.writer import ROOT


def told(history: Path) -> dict[str, list[str]]:
    """Every row of every view."""
    database = Database(history)
    return {view: sorted(map(repr, database.rows(f"FROM {view}"))) for view in VIEWS}


def plain_counts(history: Path) -> list[tuple[int, int]]:
    """Candidates by generation as another client counts them, by the README's pattern."""
    with duckdb.connect() as plain:
        files = f"{history}/runs/*/generations/*/programs.parquet"
        return plain.sql(f"SELECT generation, count(*) FROM '{files}' GROUP BY ALL ORDER BY ALL").fetchall()


def assert_each_row_once(history: Path, size: int) -> int:
    """Looks that generations are there from the first to the last, each whole and once, for us and for others."""
    rows = Database(history).rows("SELECT generation, count(*) AS n FROM programs GROUP BY ALL ORDER BY ALL")
    counts = [(row["generation"], row["n"]) for row in rows]
    assert counts == [(0, 1), *((number, size) for number in range(1, len(counts)))]
    assert plain_counts(history) == counts
    generations = Database(history).rows("SELECT generation, candidates FROM generations ORDER BY generation")
    assert [(row["generation"], row["candidates"]) for row in generations] == counts
    return len(counts) - 1


def test_a_compacted_run_tells_and_goes_on_as_before(tmp_path: Path):
    files = create(tmp_path / "one", islands=4, prompts=6)
    twin = create(tmp_path / "other", islands=4, prompts=6)
    for one in (files, twin):
        grow(one, 20, seed=3)
    assert compact(files, 1) == 21
    assert [path.name for path in files.generations.iterdir()] == ["000000-000020"]
    assert compact(files, 1) == 0
    assert told(tmp_path / "one") == told(tmp_path / "other")
    assert record.read_run_history(files) == record.read_run_history(twin)
    assert record.read_spent_usd(files) == record.read_spent_usd(twin)
    assert portrait(rebuilt(files)) == portrait(rebuilt(twin))
    for one in (files, twin):
        grow(one, 5, seed=3)
    assert told(tmp_path / "one") == told(tmp_path / "other")
    assert files.committed() == list(range(26))


def test_of_a_program_a_compacted_file_tells_without_being_read_that_it_is_elsewhere(tmp_path: Path):
    files = create(tmp_path)
    grow(files, 3)
    compact(files, 1)
    path = files.blocks()[0].folder / "programs.parquet"
    here = pq.read_table(path)["program_id"][0].as_py()
    asked = duckdb.connect()
    probed = [
        asked.execute(
            "SELECT bool_and(bloom_filter_excludes) FROM parquet_bloom_probe(?, 'program_id', ?)", [str(path), program]
        ).fetchall()
        for program in (here, "no such one")
    ]
    assert probed == [[(False,)], [(True,)]]


def test_what_is_compacted_cannot_be_committed_again(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, 3)
    again = a_generation(2, [a_judged(files.run_id, 2, 0)], record.read_run_history(files).start)
    compact(files, 1)
    with pytest.raises(HistoryError, match="committed already"):
        record.commit(files, again)


def test_a_long_run_has_few_blocks_and_rows_are_seldom_written_again(tmp_path: Path):
    files = create(tmp_path, prompts=1, islands=1)
    written = 0
    for committed in range(1, 80):
        grow(files, 1)
        before = files.blocks()
        if compact(files, 4):
            written += next(block.size for block in files.blocks() if block not in before)
        blocks = [block.size for block in files.blocks()]
        assert sum(blocks) == committed + 1
        assert len(blocks) <= math.log2(committed + 1) + 4
    assert written <= 80 * math.log2(80)


def test_too_few_generations_are_left_alone(tmp_path: Path):
    files = create(tmp_path, prompts=1)
    grow(files, FULL - 2)
    assert compact(files, FULL) == 0
    grow(files, 1)
    assert compact(files, FULL) == FULL


def test_files_of_an_older_version_are_brought_to_the_present_one(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    path = files.generation(0) / "programs.parquet"
    old = pq.read_table(path).drop_columns(["confirmed_score", "peak_mib"])
    write_file(path, old.replace_schema_metadata({"overnight.schema_version": "0"}))
    grow(files, 2)
    before = told(tmp_path)
    compact(files, 1)
    assert told(tmp_path) == before
    (block,) = files.blocks()
    schema = read_file(block.folder / "programs.parquet").schema
    assert schema.equals(tables.PROGRAMS, check_metadata=False)
    assert schema.metadata[b"overnight.schema_version"] == str(tables.SCHEMA_VERSION).encode()


@pytest.mark.parametrize("damage", [b"", b"PAR1 nonsense PAR1"])
def test_a_damaged_file_is_named_and_nothing_is_changed(tmp_path: Path, damage: bytes):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    (files.generation(3) / "programs.parquet").write_bytes(damage)
    with pytest.raises(HistoryError, match=r"000003.*damaged"):
        compact(files, 1)
    assert len(files.blocks()) == 6
    assert not list(files.directory.glob(".writing/*"))


def test_where_a_generation_is_missing_nothing_is_touched(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    (files.generation(3)).rename(tmp_path / "away")
    assert compact(files, 1) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EINVAL])
def test_a_disk_that_cannot_do_it_is_said_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    before = told(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(compaction, "_exchange", fail)
    with pytest.raises(EnvironmentFault):
        compact(files, 1)
    assert len(files.blocks()) == 6
    assert told(tmp_path) == before


def test_names_that_do_not_exist_cannot_change_places(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        compaction._exchange(tmp_path / "one", tmp_path / "other")


def test_generations_are_committed_while_others_are_compacted(tmp_path: Path):
    files = create(tmp_path, islands=3, prompts=12)
    with ThreadPoolExecutor(1) as thread:
        growing = thread.submit(grow, files, 80)
        merged = 0
        while not growing.done():
            merged += compact(files, 3)
        growing.result()
    assert merged > 20
    assert assert_each_row_once(tmp_path, 12) == 80


def test_a_reader_sees_each_row_once_while_runs_are_compacted(tmp_path: Path):
    files = create(tmp_path, islands=3, prompts=12)
    database = Database(tmp_path)
    process = compactor.start(files, 60)
    seen = set()
    while process.poll() is None:
        found = database.rows("SELECT generation, count(*) AS n FROM programs GROUP BY ALL ORDER BY ALL")
        assert [row["n"] for row in found] == [1] + [12] * (len(found) - 1)
        assert [row["generation"] for row in found] == list(range(len(found)))
        (both,) = database.rows(
            "SELECT (SELECT count(*) FROM programs) AS programs, (SELECT sum(candidates) FROM generations) AS asked_for"
        )
        assert both["programs"] == both["asked_for"]
        past = record.read_run_history(files)
        assert len(past.steps) == past.generations
        seen.add(len(found))
    assert process.wait() == 0
    assert len(seen) > 10
    assert assert_each_row_once(tmp_path, 12) == 120


def killed_again_and_again(history: Path, times: int) -> None:
    files = create(history, islands=3, prompts=12)
    moments = random.Random(times)
    last = 0
    for _ in range(times):
        process = compactor.start(files, 10_000)
        time.sleep(moments.uniform(0.05, 0.6))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = assert_each_row_once(history, 12)
        assert now >= last
        last = now
    assert last > 0
    with run_lock(files):
        assert not list(files.directory.glob(".writing/*"))
        compact(files, 1)
    assert len(files.blocks()) == 1
    assert assert_each_row_once(history, 12) == last


def test_whoever_is_killed_while_compacting_counts_do_not_differ(tmp_path: Path):
    killed_again_and_again(tmp_path, 2)


@pytest.mark.slow
def test_whoever_is_killed_twenty_times_while_compacting_counts_do_not_differ(tmp_path: Path):
    killed_again_and_again(tmp_path, 20)


DIES = """
import os, signal, sys
from pathlib import Path
from tasks.history import compact
from tasks.history.files import RunFiles
from tasks.history.run_lock import run_lock

exchange, when = compact._exchange, sys.argv[2]
def dying(*paths):
    if when == "after":
        exchange(*paths)
    os.kill(os.getpid(), signal.SIGKILL)

compact._exchange = dying
files = RunFiles(Path(sys.argv[1]))
with run_lock(files):
    compact.compact(files, 1)
"""


@pytest.mark.parametrize(("when", "blocks"), [("before", 8), ("after", 1)])
def test_the_exchange_is_the_one_moment(tmp_path: Path, when: str, blocks: int):
    files = create(tmp_path, islands=3, prompts=12)
    grow(files, 7)
    died = subprocess.run([sys.executable, "-c", DIES, str(files.directory), when], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(files.blocks()) == blocks
    assert assert_each_row_once(tmp_path, 12) == 7
    with run_lock(files):
        assert not list(files.directory.glob(".writing/*"))
