"""Histories on object storage: the promises of a local disk, on a real S3 server."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from moto.core import set_initial_no_auth_action_count

from schemas.errors import EnvironmentFault, RunIsBusy, StoreUnavailable, UsageError
from schemas.pending_batch import PendingBatch
from schemas.program import Completion
from tasks.history import archive, lease, record
from tasks.history.compact import compact
from tasks.history.database import Database
from tasks.history.files import files_of, runs_in
from tasks.history.journal import Journal
from tasks.history.mirror import hold_of, local_copy, mirror_of
from tasks.history.pending_batches import PendingBatches
from tasks.history.remote_sync import catch_up, is_unsure, refresh
from tasks.history.run_lock import run_lock
from tasks.history.store import ObjectStore
from tests.history import compactor, writer
from tests.history.made import NOW, create, grow, portrait, rebuilt
from tests.history.writer import ROOT
from tests.objects import ObjectServer


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
    with run_lock(files):
        grow(files, 3)
    refresh(elsewhere)
    assert rows(elsewhere) == rows(here) != []
    assert portrait(rebuilt(files_of(elsewhere, files.run_id))) == portrait(rebuilt(files))


def test_two_machines_cannot_hold_one_run(here: Path, elsewhere: Path):
    files = create(here)
    refresh(elsewhere)
    other = files_of(elsewhere, files.run_id)
    with run_lock(files), pytest.raises(RunIsBusy, match="last sign of life"), run_lock(other):
        pass
    with run_lock(other):
        grow(other, 1)
    with run_lock(files):
        assert files.committed() == [0, 1], "the lock's holder has what others did meanwhile"


def test_a_cache_that_was_copied_to_another_machine_is_another_contender(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = create(here)
    twin = tmp_path / "twin" / here.name
    shutil.copytree(here, twin)
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "twin"))
    with run_lock(files):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(RunIsBusy), run_lock(files_of(twin, files.run_id)):
            pass


def test_a_generation_without_its_last_file_is_not_there(here: Path, elsewhere: Path, objects: ObjectServer):
    files = create(here)
    with run_lock(files):
        grow(files, 2)
    mirror = mirror_of(here)
    assert mirror is not None
    mirror.store.delete([f"{mirror.key(files.generation(2))}/generation.parquet"])
    refresh(elsewhere)
    assert files_of(elsewhere, files.run_id).committed() == [0, 1]


def test_readers_anywhere_see_each_row_once_while_a_run_is_compacted(here: Path, elsewhere: Path):
    files = create(here, islands=2, prompts=3)
    with run_lock(files):
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


def test_nothing_is_left_on_the_store_that_nobody_reads(here: Path, objects: ObjectServer):
    files = create(here)
    with run_lock(files):
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


def test_a_bucket_that_is_not_there_is_no_empty_history(objects: ObjectServer):
    with pytest.raises(EnvironmentFault, match="no bucket 'nowhere'"):
        refresh(local_copy(objects.url("nowhere")))


def test_an_address_without_a_bucket_is_told(objects: ObjectServer):
    with pytest.raises(UsageError, match="s3:// names no bucket"):
        local_copy("s3://")


@set_initial_no_auth_action_count(0)
def test_a_key_that_the_store_does_not_know_is_told(bucket: str):
    with pytest.raises(EnvironmentFault, match="refuses") as caught:
        refresh(local_copy(f"{bucket}&region=x"))
    assert not isinstance(caught.value, StoreUnavailable)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.remedy


def test_what_the_store_holds_is_read_back_by_the_record(here: Path, elsewhere: Path):
    files = create(here)
    with run_lock(files):
        grow(files, 3)
    refresh(elsewhere)
    assert record.read_run_history(files_of(elsewhere, files.run_id)) == record.read_run_history(files)


# Kills


DIES = """
import os, signal, sys
from pathlib import Path
from tasks.history.files import RunFiles
from tasks.history.run_lock import run_lock
from tasks.history.store import ObjectStore
from tests.history.made import grow

put, after = ObjectStore._put, int(sys.argv[2])
counted = []
def dying(store, key, content):
    put(store, key, content)
    if "/generations/" in key:
        counted.append(key)
        if len(counted) == after:
            os.kill(os.getpid(), signal.SIGKILL)
ObjectStore._put = dying
files = RunFiles(Path(sys.argv[1]))
with run_lock(files):
    grow(files, 3)
"""


@pytest.mark.parametrize(("after", "there"), [(1, 0), (2, 0), (3, 1), (5, 1)])
def test_whatever_the_moment_of_a_kill_a_generation_is_there_or_not_on_every_machine(
    here: Path, elsewhere: Path, after: int, there: int
):
    files = create(here, islands=2, prompts=3)
    died = subprocess.run(
        [sys.executable, "-c", DIES, str(files.directory), str(after)],
        cwd=ROOT,
        env=writer.environment(files),
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    refresh(elsewhere)
    assert files_of(elsewhere, files.run_id).committed() == list(range(there + 1))
    with run_lock(files):
        assert files.committed() == list(range(there + 1)), "it takes its own claim over at once"
        grow(files, 2)
    refresh(elsewhere)
    assert rows(elsewhere) == rows(here)
    assert len(rows(here)) == 1 + 3 * (there + 2)


def test_a_run_goes_on_where_another_machine_was_killed(here: Path, elsewhere: Path):
    files = create(here, islands=2, prompts=3)
    last = 0
    for moment in (0.3, 0.8):
        process = writer.start(files, 10_000)
        time.sleep(moment)
        process.kill()
        process.wait()
        let_claims_run_out(here)
        refresh(elsewhere)
        other = files_of(elsewhere, files.run_id)
        assert other.committed() == list(range(len(other.committed())))
        assert len(other.committed()) > last
        with run_lock(other):
            grow(other, 1)
        last = len(other.committed())
    refresh(here)
    assert rows(here) == rows(elsewhere)
    assert len(rows(here)) == 1 + 3 * (last - 1)


def let_claims_run_out(history: Path) -> None:
    """As they do within a minute."""
    mirror = mirror_of(history)
    assert mirror is not None
    mirror.store.delete(key for key in mirror.store.list("runs") if "/lock/" in key)


# Money


def a_completion(sample: int) -> Completion:
    return Completion(0, sample, "hash", "text", "test/model", 10, 10, 0.5, 0.1, "stop", NOW)


def test_what_is_paid_for_is_known_on_another_machine(here: Path, elsewhere: Path):
    files = create(here)
    with run_lock(files):
        journal = Journal(files.paid(1))
        for sample in range(3):
            journal.record([a_completion(sample)])
        let_claims_run_out(here)
        refresh(elsewhere)
        other = files_of(elsewhere, files.run_id)
        with run_lock(other):
            known = Journal(other.paid(1)).known()
            assert sorted(sample for _, sample, _ in known) == [0, 1, 2]
            assert record.read_spent_usd(other) == 1.5


def test_what_arrives_while_the_store_is_silent_is_kept_here_and_sent_later(
    here: Path, elsewhere: Path, objects: ObjectServer
):
    files = create(here)
    with run_lock(files):
        journal = Journal(files.paid(1))
        journal.record([a_completion(0)])
        with objects.down(), pytest.raises(StoreUnavailable):
            journal.record([a_completion(1)])
        assert len(journal.known()) == 2
        catch_up(files)
        let_claims_run_out(here)
        other = files_of(elsewhere, files.run_id)
        with run_lock(other):
            assert len(Journal(other.paid(1)).known()) == 2


def test_what_a_killed_process_could_not_send_is_sent_by_the_next(here: Path, elsewhere: Path):
    files = create(here)
    with run_lock(files):
        Journal(files.paid(1)).record([a_completion(0)])
    Journal(files.paid(1)).take([orjson.dumps(a_completion(1))])
    with run_lock(files):
        pass
    with run_lock(files_of(elsewhere, files.run_id)):
        assert len(Journal(files_of(elsewhere, files.run_id).paid(1)).known()) == 2


def test_a_batch_is_under_way_on_every_machine_until_its_answers_are_safe(here: Path, elsewhere: Path):
    files = create(here)
    other = files_of(elsewhere, files.run_id)
    pending_batch = PendingBatch("20260101-a", "openai/x", NOW, usd=0.5, tokens=100)
    sent = replace(pending_batch, batch_id="batch_1")
    with run_lock(files):
        PendingBatches(files.directory / "paid").keep(pending_batch)
        PendingBatches(files.directory / "paid").keep(sent)
    with run_lock(other):
        assert PendingBatches(other.directory / "paid").all() == [sent]
        PendingBatches(other.directory / "paid").drop(sent)
    with run_lock(files):
        assert PendingBatches(files.directory / "paid").all() == []


# Outages


def test_an_outage_loses_nothing_and_shows_nothing_that_is_not_on_the_store(
    here: Path, elsewhere: Path, objects: ObjectServer
):
    files = create(here, islands=2, prompts=3)
    with run_lock(files):
        grow(files, 1)
        with objects.down(), pytest.raises(StoreUnavailable):
            grow(files, 1)
        assert files.committed() == [0, 1]
        catch_up(files)
        grow(files, 1)
    refresh(elsewhere)
    assert files_of(elsewhere, files.run_id).committed() == [0, 1, 2]
    assert rows(elsewhere) == rows(here)


def test_a_commit_whose_answer_was_lost_is_found_and_not_made_twice(
    here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    files = create(here)
    put = ObjectStore._put

    def silent(store: ObjectStore, key: str, content: bytes | Path) -> None:
        put(store, key, content)
        if key.endswith("000001/generation.parquet"):
            raise StoreUnavailable("no answer")

    monkeypatch.setattr(ObjectStore, "_put", silent)
    with run_lock(files):
        with pytest.raises(StoreUnavailable):
            grow(files, 1)
        assert files.committed() == [0]
        assert is_unsure(files)
        catch_up(files)
        assert files.committed() == [0, 1]
        grow(files, 1)
    refresh(elsewhere)
    assert rows(elsewhere) == rows(here)


def test_a_night_whose_claim_ran_out_writes_nothing_over_what_another_did(
    here: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
):
    files, other = create(here), files_of(elsewhere, "20260101-2200-toy-aaaa")
    monkeypatch.setattr(lease, "SECONDS", 1.0)
    with run_lock(files):
        hold = hold_of(files.directory)
        assert hold is not None
        hold.lease._released.set()  # a machine that sleeps renews nothing
        monkeypatch.setattr(lease, "SECONDS", 60.0)
        time.sleep(1.1)
        with run_lock(other):
            grow(other, 1, seed=5)
            with pytest.raises(RunIsBusy):
                grow(files, 1)
        with pytest.raises(StoreUnavailable, match="had run out"):
            grow(files, 1)
        hold.lease._claim = hold.lease._claim.model_copy(update={"seconds": 60.0})  # it is awake
        catch_up(files)
        assert rows(here) == rows(elsewhere)
        grow(files, 1)
    refresh(elsewhere)
    assert rows(here) == rows(elsewhere)
    assert files.committed() == [0, 1, 2]


# Readers


def test_a_reader_on_another_machine_sees_each_row_once_while_the_run_grows_and_is_compacted(
    here: Path, elsewhere: Path
):
    files = create(here, islands=3, prompts=12)
    process = compactor.start(files, 6)
    seen = 0
    try:
        while process.poll() is None:
            refresh(elsewhere)
            found = rows(elsewhere)
            numbers = {row["generation"] for row in found}
            assert numbers == set(range(len(numbers)))
            assert len(found) == 1 + 12 * (len(numbers) - 1)
            assert len(numbers) >= seen
            seen = len(numbers)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    refresh(elsewhere)
    assert len(rows(elsewhere)) == 1 + 12 * 12


def test_a_pull_beside_a_night_in_the_same_copy_takes_nothing_away(here: Path):
    files = create(here, islands=3, prompts=12)
    process = compactor.start(files, 6)
    seen = 0
    while process.poll() is None:
        refresh(here)
        there = files.committed()
        assert there == list(range(len(there)))
        assert len(there) >= seen
        seen = len(there)
    assert process.returncode == 0
    assert len(rows(here)) == 1 + 12 * 12


def test_only_what_is_new_is_fetched(here: Path, elsewhere: Path, objects: ObjectServer):
    files = create(here)
    with run_lock(files):
        grow(files, 4)
        refresh(elsewhere)
        time.sleep(5.1)
        refresh(elsewhere)  # what was young at first may have changed within the same moment
        grow(files, 1)
        before = len(objects.requests)
        refresh(elsewhere)
        fetched = {request for request in objects.requests[before:] if request.startswith("GET") and "?" not in request}
    assert len(fetched) == 3
    assert all("/000005/" in request for request in fetched)


# Whole runs


def test_a_run_is_imported_to_a_store_and_exported_from_it(here: Path, elsewhere: Path, tmp_path: Path):
    given = create(tmp_path / "local", islands=2, prompts=3)
    grow(given, 3)
    Journal(given.paid(4)).record([a_completion(0)])
    archive.pack(given, tmp_path / "run.tar.zst")
    files, is_new = archive.unpack(tmp_path / "run.tar.zst", here)
    assert is_new
    refresh(elsewhere)
    other = files_of(elsewhere, files.run_id)
    assert rows(elsewhere) == rows(tmp_path / "local")
    with run_lock(other):
        assert len(Journal(other.paid(4)).known()) == 1
        archive.pack(other, tmp_path / "again.tar.zst")
    _, is_new = archive.unpack(tmp_path / "again.tar.zst", tmp_path / "local")
    assert not is_new, "it is the same"


def test_a_name_that_no_run_has_is_never_written(here: Path, elsewhere: Path):
    files = create(here)
    mirror = mirror_of(here)
    assert mirror is not None
    base = mirror.key(files.directory)
    for name in ("stranger.txt", "generations/000001/other.parquet", "nights/x.parquet"):
        mirror.store.put(f"{base}/{name}", b"x")
    refresh(elsewhere)
    assert {path.name for path in elsewhere.rglob("*") if path.is_file()} == {
        ".remote", "run.parquet", "generation.parquet", "population.parquet", "programs.parquet",
    }  # fmt: skip
