"""Compaction changes only the number of files: readers see each row exactly once, even after kills."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from overnight.schemas import tables
from overnight.schemas.errors import EnvironmentFault, HistoryError
from overnight.schemas.views import VIEWS
from overnight.tasks.history import compact as compaction
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.atomic_files import read_file, write_file
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import a_generation, a_judged, create, grow, portrait, rebuilt
from tests.history.writer import ROOT


def all_rows(history: Path) -> dict[str, list[str]]:
    """Return every row of every view."""
    database = Database(history)
    return {view: sorted(map(repr, database.rows(f"FROM {view}"))) for view in VIEWS}


def counts_by_duckdb(history: Path) -> list[tuple[int, int]]:
    """Count candidates by generation with plain DuckDB and the file pattern of tasks/history/README.md."""
    with duckdb.connect() as plain:
        files = f"{history}/runs/*/generations/*/programs.parquet"
        return plain.sql(f"SELECT generation, count(*) FROM '{files}' GROUP BY ALL ORDER BY ALL").fetchall()


def assert_each_row_once(history: Path, size: int) -> int:
    """Check that Overnight and plain DuckDB see every generation up to the last one exactly once and complete.

    Returns:
        Number of the last generation.
    """
    rows = Database(history).rows("SELECT generation, count(*) AS n FROM programs GROUP BY ALL ORDER BY ALL")
    counts = [(row["generation"], row["n"]) for row in rows]
    assert counts == [(0, 1), *((number, size) for number in range(1, len(counts)))]
    assert counts_by_duckdb(history) == counts
    generations = Database(history).rows("SELECT generation, candidates FROM generations ORDER BY generation")
    assert [(row["generation"], row["candidates"]) for row in generations] == counts
    return len(counts) - 1


def test_a_compacted_run_reads_and_continues_like_one_that_is_not(tmp_path: Path):
    files = create(tmp_path / "one", islands=4, prompts=6)
    twin = create(tmp_path / "other", islands=4, prompts=6)
    for run in (files, twin):
        grow(run, 8, seed=3)
    assert compact(files, 1) == 9
    assert [path.name for path in files.generations.iterdir()] == ["000000-000008"]
    assert compact(files, 1) == 0
    assert all_rows(tmp_path / "one") == all_rows(tmp_path / "other")
    assert stored_run.read_run_history(files) == stored_run.read_run_history(twin)
    assert stored_run.read_spent_usd(files) == stored_run.read_spent_usd(twin)
    assert portrait(rebuilt(files)) == portrait(rebuilt(twin))
    for run in (files, twin):
        grow(run, 3, seed=3)
    assert all_rows(tmp_path / "one") == all_rows(tmp_path / "other")
    assert files.committed() == list(range(12))


def test_a_bloom_filter_excludes_files_without_the_program(tmp_path: Path):
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


def test_a_compacted_generation_cannot_be_committed_again(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, 3)
    again = a_generation(2, [a_judged(files.run_id, 2, 0)], stored_run.read_run_history(files).start)
    compact(files, 1)
    with pytest.raises(HistoryError, match="committed already"):
        record.commit(files, again)


def test_a_long_run_has_few_blocks_and_rewrites_rows_seldom(tmp_path: Path):
    files = create(tmp_path, prompts=1, islands=1)
    written = 0
    for committed in range(1, 24):
        grow(files, 1)
        before = files.blocks()
        if compact(files, 4):
            written += next(block.size for block in files.blocks() if block not in before)
        blocks = [block.size for block in files.blocks()]
        assert sum(blocks) == committed + 1
        assert len(blocks) <= math.log2(committed + 1) + 4
    assert written <= 24 * math.log2(24)


def test_files_that_lack_columns_get_the_current_schema(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    path = files.generation(0) / "programs.parquet"
    old = pq.read_table(path).drop_columns(["confirmed_score", "peak_mib"])
    write_file(LocalBackend(tmp_path), path, old)
    grow(files, 2)
    before = all_rows(tmp_path)
    compact(files, 1)
    assert all_rows(tmp_path) == before
    (block,) = files.blocks()
    schema = read_file(block.folder / "programs.parquet").schema
    assert schema.equals(tables.PROGRAMS, check_metadata=False)
    assert schema.metadata[b"overnight.schema_version"] == str(tables.FORMAT).encode()


@pytest.mark.parametrize("damage", [b"", b"PAR1 nonsense PAR1"])
def test_a_damaged_file_is_named_and_nothing_is_changed(tmp_path: Path, damage: bytes):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    (files.generation(3) / "programs.parquet").write_bytes(damage)
    with pytest.raises(HistoryError, match=r"000003.*damaged"):
        compact(files, 1)
    assert len(files.blocks()) == 6
    assert not list(files.directory.glob(".writing/*"))


def test_a_run_with_a_missing_generation_is_left_alone(tmp_path: Path):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    (files.generation(3)).rename(tmp_path / "away")
    assert compact(files, 1) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EINVAL])
def test_a_file_system_without_exchange_is_an_error_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
):
    files = create(tmp_path, prompts=2)
    grow(files, 5)
    before = all_rows(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(compaction, "_exchange", fail)
    with pytest.raises(EnvironmentFault):
        compact(files, 1)
    assert len(files.blocks()) == 6
    assert all_rows(tmp_path) == before


def test_exchanging_missing_folders_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        compaction._exchange(tmp_path / "one", tmp_path / "other")


KILLED_AT_EXCHANGE = """
import os, signal, sys
from pathlib import Path
from overnight.tasks.history import compact
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import run_at

exchange, when = compact._exchange, sys.argv[2]
def exchange_and_die(*paths):
    if when == "after":
        exchange(*paths)
    os.kill(os.getpid(), signal.SIGKILL)

compact._exchange = exchange_and_die
files = run_at(Path(sys.argv[1]))
with run_lock(files):
    compact.compact(files, 1)
"""


@pytest.mark.parametrize(("when", "blocks"), [("before", 8), ("after", 1)])
def test_a_kill_just_before_or_after_the_exchange_leaves_one_of_the_two_whole(tmp_path: Path, when: str, blocks: int):
    files = create(tmp_path, islands=3, prompts=12)
    grow(files, 7)
    died = subprocess.run([sys.executable, "-c", KILLED_AT_EXCHANGE, str(files.directory), when], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(files.blocks()) == blocks
    assert assert_each_row_once(tmp_path, 12) == 7
    with run_lock(files):
        assert not list(files.directory.glob(".writing/*"))
