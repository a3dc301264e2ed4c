"""Histories on object storage: the promises of a local disk, on a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import EnvironmentFault, RunIsBusy, StoreUnavailable
from tasks.history import record
from tasks.history.compact import compact
from tasks.history.database import Database
from tasks.history.files import files_of, runs_in
from tasks.history.lock import locked
from tasks.history.mirror import local_copy, mirror_of
from tasks.history.remote import refresh
from tests.history.made import create, grow, portrait, rebuilt
from tests.objects import ObjectStore


@pytest.fixture
def here(bucket: str) -> Path:
    """A copy on this machine."""
    return local_copy(bucket)


@pytest.fixture
def elsewhere(bucket: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the same on another machine."""
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "other"))
    copy = local_copy(bucket)
    assert copy != here
    return copy


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows("FROM programs ORDER BY run_id, generation, index")


def test_another_machine_sees_what_this_one_committed(here: Path, elsewhere: Path):
    files = create(here, islands=2, prompts=3)
    with locked(files):
        grow(files, 3)
    refresh(elsewhere)
    assert rows(elsewhere) == rows(here) != []
    assert portrait(rebuilt(files_of(elsewhere, files.run_id))) == portrait(rebuilt(files))


def test_two_machines_cannot_hold_one_run(here: Path, elsewhere: Path):
    files = create(here)
    refresh(elsewhere)
    other = files_of(elsewhere, files.run_id)
    with locked(files), pytest.raises(RunIsBusy, match="last sign of life"), locked(other):
        pass
    with locked(other):
        grow(other, 1)
    with locked(files):
        assert files.committed() == [0, 1], "the lock's holder has what others did meanwhile"


def test_a_generation_without_its_last_file_is_not_there(here: Path, elsewhere: Path, objects: ObjectStore):
    files = create(here)
    with locked(files):
        grow(files, 2)
    mirror = mirror_of(here)
    assert mirror is not None
    mirror.store.delete([f"{mirror.key(files.generation(2))}/generation.parquet"])
    refresh(elsewhere)
    assert files_of(elsewhere, files.run_id).committed() == [0, 1]


def test_readers_anywhere_see_each_row_once_while_a_run_is_compacted(here: Path, elsewhere: Path):
    files = create(here, islands=2, prompts=3)
    with locked(files):
        grow(files, 5)
        before = rows(here)
        refresh(elsewhere)
        compact(files, 1)
        grow(files, 2)
    assert len(files.blocks()) == 3
    refresh(elsewhere)
    assert [block.folder.name for block in files_of(elsewhere, files.run_id).blocks()] == [
        block.folder.name for block in files.blocks()
    ]
    assert rows(elsewhere) == rows(here)
    assert rows(here)[: len(before)] == before


def test_nothing_is_left_on_the_store_that_nobody_reads(here: Path, objects: ObjectStore):
    files = create(here)
    with locked(files):
        grow(files, 5)
        compact(files, 1)
    mirror = mirror_of(here)
    assert mirror is not None
    block = "generations/000000-000005"
    names = {key.split("/", 2)[2] for key in mirror.store.list("runs")}
    assert names == {"run.parquet", *(f"{block}/{part}.parquet" for part in ("generation", "population", "programs"))}


def test_a_run_that_is_removed_from_the_store_is_removed_here(here: Path, elsewhere: Path):
    one, other = create(here, "one"), create(here, "other")
    refresh(elsewhere)
    mirror = mirror_of(elsewhere)
    assert mirror is not None
    mirror.store.delete(mirror.store.list(f"runs/{one.run_id}"))
    refresh(elsewhere)
    assert [files.run_id for files in runs_in(elsewhere)] == [other.run_id]


def test_a_bucket_that_is_not_there_is_no_empty_history(objects: ObjectStore):
    with pytest.raises(EnvironmentFault, match="no bucket 'nowhere'"):
        refresh(local_copy(objects.url("nowhere")))


def test_a_wrong_key_is_told(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(EnvironmentFault, match="refuses") as caught:
        refresh(local_copy(f"{bucket}&region=x"))
    assert not isinstance(caught.value, StoreUnavailable)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.remedy


def test_what_the_store_holds_is_read_back_by_the_record(here: Path, elsewhere: Path):
    files = create(here)
    with locked(files):
        grow(files, 3)
    refresh(elsewhere)
    assert record.read_past(files_of(elsewhere, files.run_id)) == record.read_past(files)
