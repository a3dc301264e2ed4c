"""Histories on object storage, on a real S3 server: the same guarantees as on a local disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from moto.core import set_initial_no_auth_action_count

from overnight.schemas.errors import EnvironmentFault, RunIsBusy, StoreUnavailable
from overnight.schemas.generation import NightRecord
from overnight.schemas.program import Completion
from overnight.tasks.history import record
from overnight.tasks.history.compact import compact
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of, runs_in
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.night_log import log_line, read_log
from overnight.tasks.history.remote import lease
from overnight.tasks.history.remote.backend import MirroredBackend, open_backend
from overnight.tasks.history.remote.object_store import ObjectStore
from overnight.tasks.history.run_lock import run_lock
from overnight.testing.made import NOW, create, grow, run_at
from tests.history import writer
from tests.history.writer import ROOT
from tests.objects import ObjectServer


@pytest.fixture
def here(bucket: str) -> MirroredBackend:
    """Provide a copy on this machine."""
    return open_backend(bucket)


@pytest.fixture
def elsewhere(bucket: str, here: MirroredBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MirroredBackend:
    """Provide a copy of the same history on another machine."""
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "other"))
    copy = open_backend(bucket)
    assert copy.root != here.root
    return copy


def rows(history: Path) -> list[dict[str, object]]:
    return Database(history).rows("FROM programs ORDER BY run_id, generation, index")


def test_the_log_of_a_night_is_on_the_store_with_its_row_and_keeps_its_lines_here(
    here: MirroredBackend, elsewhere: MirroredBackend
):
    files = create(here)
    with run_lock(files):
        log_line(files, 1, "started")
        record.write_night(files, NightRecord(1, NOW, -9, -9, ""))
        log_line(files, 1, "generation 1")
        here.refresh()
        assert len(read_log(files)) == 2, "what is not on the store yet"
        elsewhere.refresh()
        assert len(read_log(files_of(elsewhere, files.run_id))) == 1
        record.write_night(files, NightRecord(1, NOW, -9, -9, ""))
    elsewhere.refresh()
    assert read_log(files_of(elsewhere, files.run_id)) == read_log(files)


def test_a_cache_copied_to_another_machine_is_another_contender(
    here: MirroredBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = create(here)
    twin = tmp_path / "twin" / here.root.name
    shutil.copytree(here.root, twin)
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path / "twin"))
    with run_lock(files):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        with pytest.raises(RunIsBusy), run_lock(run_at(twin / "runs" / files.run_id)):
            pass


def test_a_generation_without_its_last_file_is_not_visible(here: MirroredBackend, elsewhere: MirroredBackend):
    files = create(here)
    with run_lock(files):
        grow(files, 2)
    mirror = here.mirror
    mirror.store.delete([f"{mirror.key(files.generation(2))}/generation.parquet"])
    elsewhere.refresh()
    assert files_of(elsewhere, files.run_id).committed() == [0, 1]


def test_no_unused_object_is_left_on_the_store(here: MirroredBackend, objects: ObjectServer):
    files = create(here)
    with run_lock(files):
        grow(files, 5)
        compact(files, 1)
    mirror = here.mirror
    block = "generations/000000-000005"
    names = {key.split("/", 2)[2] for key in mirror.store.list("runs")}
    assert names == {"run.parquet", *(f"{block}/{part}.parquet" for part in ("generation", "population", "programs"))}


def test_a_run_that_is_removed_from_the_store_is_removed_here(here: MirroredBackend, elsewhere: MirroredBackend):
    first, second = create(here, "one"), create(here, "other")
    elsewhere.refresh()
    mirror = elsewhere.mirror
    mirror.store.delete(mirror.store.list(f"runs/{first.run_id}"))
    elsewhere.refresh()
    assert [files.run_id for files in runs_in(elsewhere)] == [second.run_id]


def test_a_run_that_a_night_on_this_machine_holds_stays_here_although_it_is_removed_from_the_store(
    here: MirroredBackend,
):
    files = create(here)
    with run_lock(files):
        here.mirror.store.delete(here.mirror.store.list("runs"))
        open_backend(here.location).refresh()
        assert [run.run_id for run in runs_in(here)] == [files.run_id]
    here.refresh()
    assert runs_in(here) == []


def test_a_missing_bucket_is_not_an_empty_history(objects: ObjectServer):
    with pytest.raises(EnvironmentFault, match="no bucket 'nowhere'"):
        open_backend(objects.url("nowhere")).refresh()


@set_initial_no_auth_action_count(0)
def test_an_unknown_key_is_an_error(bucket: str):
    with pytest.raises(EnvironmentFault, match="refuses") as caught:
        open_backend(f"{bucket}&region=x").refresh()
    assert not isinstance(caught.value, StoreUnavailable)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.remedy


# Kills


KILLED_AFTER_PUT = """
import os, signal, sys
from pathlib import Path
from overnight.tasks.history.run_lock import run_lock
from overnight.tasks.history.remote.object_store import ObjectStore
from overnight.testing.made import grow, run_at

put, after = ObjectStore._put, int(sys.argv[2])
counted = []
def put_and_die(store, key, content):
    put(store, key, content)
    if "/generations/" in key:
        counted.append(key)
        if len(counted) == after:
            os.kill(os.getpid(), signal.SIGKILL)
ObjectStore._put = put_and_die
files = run_at(Path(sys.argv[1]))
with run_lock(files):
    grow(files, 3)
"""


@pytest.mark.parametrize(("after", "there"), [(2, 0), (3, 1)])
def test_a_kill_at_any_moment_leaves_a_whole_generation_or_none_on_every_machine(
    here: MirroredBackend, elsewhere: MirroredBackend, after: int, there: int
):
    files = create(here, islands=2, prompts=3)
    died = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER_PUT, str(files.directory), str(after)],
        cwd=ROOT,
        env=writer.environment(files),
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    elsewhere.refresh()
    assert files_of(elsewhere, files.run_id).committed() == list(range(there + 1))
    with run_lock(files):
        assert files.committed() == list(range(there + 1)), "a process of the same copy takes the claim over at once"
        grow(files, 2)
    elsewhere.refresh()
    assert rows(elsewhere.root) == rows(here.root)
    assert len(rows(here.root)) == 1 + 3 * (there + 2)


def expire_claims(history: MirroredBackend) -> None:
    """Remove all claims, as contenders do once they have expired."""
    mirror = history.mirror
    mirror.store.delete(key for key in mirror.store.list("runs") if "/lock/" in key)


# Uncommitted completions


def a_completion(sample: int) -> Completion:
    return Completion(0, sample, "hash", "text", "test/model", 10, 10, 0.5, 0.1, "stop", NOW)


def test_completions_that_arrive_during_an_outage_are_stored_locally_and_sent_later(
    here: MirroredBackend, elsewhere: MirroredBackend, objects: ObjectServer
):
    files = create(here)
    with run_lock(files):
        journal = Journal(files.journal(1), files.backend)
        journal.record([a_completion(0)])
        with objects.down(), pytest.raises(StoreUnavailable):
            journal.record([a_completion(1)])
        assert len(journal.known()) == 2
        files.catch_up()
        expire_claims(here)
        other = files_of(elsewhere, files.run_id)
        with run_lock(other):
            assert len(Journal(other.journal(1), other.backend).known()) == 2


def test_completions_that_a_killed_process_could_not_send_are_sent_by_the_next(
    here: MirroredBackend, elsewhere: MirroredBackend
):
    files = create(here)
    with run_lock(files):
        Journal(files.journal(1), files.backend).record([a_completion(0)])
    Journal(files.journal(1), files.backend).add_lines([orjson.dumps(a_completion(1))])
    with run_lock(files):
        pass
    with run_lock(files_of(elsewhere, files.run_id)):
        assert len(Journal(files_of(elsewhere, files.run_id).journal(1), elsewhere).known()) == 2


# Outages


def test_a_commit_whose_response_was_lost_is_found_and_not_repeated(
    here: MirroredBackend, elsewhere: MirroredBackend, monkeypatch: pytest.MonkeyPatch
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
        assert files.is_unsure()
        files.catch_up()
        assert files.committed() == [0, 1]
        grow(files, 1)
    elsewhere.refresh()
    assert rows(elsewhere.root) == rows(here.root)


def test_a_night_whose_claim_expired_overwrites_nothing_of_another(
    here: MirroredBackend, elsewhere: MirroredBackend, monkeypatch: pytest.MonkeyPatch
):
    files, other = create(here), files_of(elsewhere, "20260101-2200-toy-aaaa")
    monkeypatch.setattr(lease, "SECONDS", 1.0)
    with run_lock(files):
        hold = here._holds.get(files.directory)
        assert hold is not None
        hold.lease._released.set()  # a sleeping machine does not renew its claim
        monkeypatch.setattr(lease, "SECONDS", 60.0)
        time.sleep(1.1)
        with run_lock(other):
            grow(other, 1, seed=5)
            with pytest.raises(RunIsBusy):
                grow(files, 1)
        with pytest.raises(StoreUnavailable, match="had expired"):
            grow(files, 1)
        hold.lease._claim = hold.lease._claim.model_copy(update={"seconds": 60.0})  # the machine wakes up
        files.catch_up()
        assert rows(here.root) == rows(elsewhere.root)
        grow(files, 1)
    elsewhere.refresh()
    assert rows(here.root) == rows(elsewhere.root)
    assert files.committed() == [0, 1, 2]


# Readers


def test_a_pull_during_a_night_in_the_same_copy_removes_nothing(here: MirroredBackend):
    files = create(here, islands=2, prompts=3)
    process = writer.start(files, 6, compacts=True)
    seen = 0
    while process.poll() is None:
        here.refresh()
        committed = files.committed()
        assert committed == list(range(len(committed)))
        assert len(committed) >= seen
        seen = len(committed)
    assert process.returncode == 0
    assert len(rows(here.root)) == 1 + 6 * 3


def test_only_new_objects_are_fetched(here: MirroredBackend, elsewhere: MirroredBackend, objects: ObjectServer):
    files = create(here)
    with run_lock(files):
        grow(files, 4)
        elsewhere.refresh()
        time.sleep(5.1)
        elsewhere.refresh()  # recent objects are fetched twice, since they may be replaced within the same moment
        grow(files, 1)
        before = len(objects.requests)
        elsewhere.refresh()
        fetched = {request for request in objects.requests[before:] if request.startswith("GET") and "?" not in request}
    assert len(fetched) == 3
    assert all("/000005/" in request for request in fetched)


# Whole runs


def test_objects_with_unknown_names_are_not_fetched(here: MirroredBackend, elsewhere: MirroredBackend):
    files = create(here)
    mirror = here.mirror
    base = mirror.key(files.directory)
    for name in ("stranger.txt", "generations/000001/other.parquet", "nights/x.parquet"):
        mirror.store.put(f"{base}/{name}", b"x")
    elsewhere.refresh()
    assert {path.name for path in elsewhere.root.rglob("*") if path.is_file()} == {
        ".remote", "run.parquet", "generation.parquet", "population.parquet", "programs.parquet",
    }  # fmt: skip
