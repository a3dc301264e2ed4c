"""Attacks on the host by the author of a history or an archive, each in one short test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from overnight.schemas.errors import EnvironmentFault, HistoryError, UsageError
from overnight.tasks.history import stored_run
from overnight.tasks.history.archive import pack, unpack
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles, runs_in
from overnight.tasks.history.find_run import find_run
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import create, grow, run_at
from tests.flows.conftest import Call
from tests.recording_server import recording_server

SECRET = "a line\nand a secret without an end"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


@pytest.fixture(scope="module")
def _grown(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    files = create(tmp_path_factory.mktemp("grown"), islands=2, prompts=3)
    grow(files, 3)
    return files


@pytest.fixture
def files(_grown: RunFiles, tmp_path: Path) -> RunFiles:
    """A run of three generations, which a test may change."""
    copy = tmp_path / "history" / "runs" / _grown.run_id
    shutil.copytree(_grown.directory, copy)
    return run_at(copy)


# Links and names


def put_link(files: RunFiles, name: str, secret: Path) -> None:
    path = files.directory / name
    path.parent.mkdir(exist_ok=True)
    if path.is_dir():
        path.rename(path.with_name("moved"))
    path.unlink(missing_ok=True)
    path.symlink_to(secret)


@pytest.mark.parametrize(
    "name",
    [
        "paid/000004.jsonl",
        "paid/x.slip",
        "lock",
        "origin",
        "report.html",
        ".writing",
        "nights",
        "attempts",
        "run.parquet",
    ],
)
def test_a_run_with_a_link_is_refused_before_it_is_used(files: RunFiles, secret: Path, name: str):
    put_link(files, name, secret)
    with pytest.raises((HistoryError, EnvironmentFault, UsageError)):
        find_run(files.backend, files.run_id)
    with pytest.raises((HistoryError, EnvironmentFault)), run_lock(files):
        pass
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("command", ["resume", "retry", "export", "compact", "rescore", "replay", "best", "report"])
def test_no_command_reads_or_writes_through_a_link_of_a_run(
    files: RunFiles, secret: Path, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    put_link(files, "paid/000004.jsonl", secret)
    monkeypatch.chdir(tmp_path)
    code, output = call(command, files.run_id, "--history", files.directory.parents[1])
    assert code == 1, output
    assert "no regular file" in output
    assert secret.read_text() == SECRET
    assert not list(tmp_path.glob("*.tar.zst"))


def test_a_report_is_not_written_through_an_existing_link(
    files: RunFiles, tmp_path: Path, secret: Path, call: Call, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report-all.html").symlink_to(secret)
    history = ("--history", files.directory.parents[1])
    code, output = call("report", "--all", *history)
    assert code == 2, output
    assert secret.read_text() == SECRET
    assert call("report", "--all", "--write", "report-all.html", *history)[0] == 0, (
        "a file that the user names is overwritten"
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["run.parquet", "nights/0009.parquet", "generations/000001/programs.parquet"])
def test_a_pipe_in_a_history_does_not_block(files: RunFiles, name: str):
    path = files.directory / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(HistoryError, match="no regular file"):
        Database(files.directory.parents[1]).rows("FROM programs")


@pytest.mark.parametrize("name", ["**", "*", "[a-z]*", ".x", "a b", "x'y"])
def test_a_folder_whose_name_is_a_glob_pattern_is_no_run(files: RunFiles, name: str):
    history = files.directory.parents[1]
    grow(create(history, run_id="other"), 1)
    files.directory.rename(files.directory.with_name(name))
    assert [run.run_id for run in runs_in(LocalBackend(history))] == ["other"]
    assert [row["run_id"] for row in Database(history).rows("FROM runs")] == ["other"]


@pytest.mark.parametrize("name", ["000003-999999999", "000003-000900", "999999998-999999999", "000009-000003"])
def test_the_name_of_a_block_folder_adds_no_generations(files: RunFiles, name: str):
    files.generation(3).rename(files.generations / name)
    assert len(files.committed()) < 1000
    if "900" in name:
        with pytest.raises(HistoryError, match="as its name says"):
            stored_run.read_run_history(files)
    else:
        assert files.committed() == [0, 1, 2]


def test_a_history_cannot_claim_to_be_the_copy_of_a_remote_one(
    files: RunFiles, call: Call, monkeypatch: pytest.MonkeyPatch
):
    history, requested = files.directory.parents[1], list[str]()
    with recording_server(requested) as port:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-user")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-user")
        url = f"s3://theirs?endpoint_override=127.0.0.1:{port}&scheme=http"
        (history / ".remote").write_text(f'{{"url": "{url}", "name": "x"}}')
        for command in (["runs"], ["best", "last"], ["sql", "FROM runs"]):
            code, output = call(*command, "--history", history)
            assert code == 2, output
            assert "copy of a history" in output
    assert not requested


def test_a_damaged_marker_of_a_remote_copy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / ".remote").write_text("{")
    with pytest.raises(UsageError, match="copy of a history"):
        open_history(str(tmp_path / "copy"))


# Tables


def make_bomb(path: Path, rows: int) -> None:
    """Write a small file with many rows that share one long text, which the file holds once."""
    table = pq.read_table(path)
    one, text = table.slice(0, 1), os.urandom(150_000).hex()
    columns = []
    for field in table.schema:
        if pa.types.is_string(field.type) and one[field.name][0].is_valid:
            value = text if field.name == "prompt" else one[field.name][0].as_py()
            columns.append(pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([value])))
        else:
            columns.append(pa.concat_arrays([one[field.name].combine_chunks()] * rows))
    bomb = pa.table(columns, names=table.schema.names)
    how: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "dictionary_pagesize_limit": 2**30}
    with pq.ParquetWriter(path, bomb.schema, store_schema=False, **how) as file:
        file.write_table(bomb)
        file.add_key_value_metadata({key.decode(): value.decode() for key, value in table.schema.metadata.items()})


def test_a_small_file_that_expands_to_a_large_table_is_refused(files: RunFiles, tmp_path: Path):
    path = files.generation(2) / "programs.parquet"
    make_bomb(path, 20_000)
    assert path.stat().st_size < 2**19
    with pytest.raises(HistoryError, match="MiB of memory"):
        read_file(path)
    pack(files, tmp_path / "run.tar.zst")
    with pytest.raises(HistoryError, match="MiB of memory"):
        unpack(tmp_path / "run.tar.zst", LocalBackend(tmp_path / "unpacked"))
    assert not list((tmp_path / "unpacked").glob("runs/*"))


def test_a_small_file_that_expands_to_a_long_list_is_refused(tmp_path: Path):
    path = tmp_path / "x.parquet"
    zeros = pa.ListArray.from_arrays(pa.array([0, 100_000_000], pa.int32()), pa.nulls(100_000_000, pa.int8()))
    pq.write_table(pa.table({"scores": zeros}), path, compression="zstd")
    assert path.stat().st_size < 2**20
    with pytest.raises(HistoryError, match="MiB of memory"):
        read_file(path)


@pytest.mark.parametrize("cost", [-1000.0, float("nan"), float("-inf")])
def test_a_generation_with_an_invalid_cost_counts_as_free(files: RunFiles, cost: float):
    path = files.generation(2) / "generation.parquet"
    before = stored_run.read_spent_usd(files)
    table = read_file(path)
    mine = table["cost_usd"][0].as_py()
    place = table.schema.get_field_index("cost_usd")
    table = table.set_column(place, table.schema.field(place), [pa.array([cost])])
    pq.write_table(table, path)
    assert stored_run.read_spent_usd(files) == pytest.approx(before - mine)
