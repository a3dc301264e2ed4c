"""Object stores of any kind: objects are written atomically, and errors have the right type."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from overnight.schemas.errors import EnvironmentFault, StoreUnavailable
from overnight.tasks.history.remote.object_store import ObjectStore
from tests.objects import ObjectServer


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """Provide an empty store on an S3 server, and one of fsspec."""
    if request.param == "s3":
        return ObjectStore(request.getfixturevalue("bucket"))
    return ObjectStore(f"memory://{secrets.token_hex(6)}/histories")


def test_a_written_object_is_listed_and_read_back(store: ObjectStore, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"from a file")
    store.put("runs/one/a", b"some bytes")
    store.put("runs/one/deep/b", tmp_path / "file")
    store.put("runs/two/c", b"")
    assert {key: entry.size for key, entry in store.list("runs/one").items()} == {
        "runs/one/a": 10,
        "runs/one/deep/b": 11,
    }
    assert len(store.list("runs")) == len(store.list("")) == 3
    assert store.get("runs/one/deep/b") == b"from a file"
    store.fetch("runs/one/a", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"some bytes"
    assert store.has("runs/two/c")


def test_writing_again_replaces_an_object(store: ObjectStore):
    store.put("key", b"long and old")
    store.put("key", b"new")
    assert store.get("key") == b"new"


def test_a_missing_object_is_file_not_found(store: ObjectStore, tmp_path: Path):
    assert store.list("nowhere") == {}
    assert not store.has("nowhere/key")
    store.delete(["nowhere/key"])
    with pytest.raises(FileNotFoundError):
        store.get("nowhere/key")
    with pytest.raises(FileNotFoundError):
        store.fetch("nowhere/key", tmp_path / "fetched")


def test_only_the_given_objects_are_deleted(store: ObjectStore):
    for number in range(20):
        store.put(f"folder/{number}", b"x")
    store.delete(f"folder/{number}" for number in range(19))
    assert list(store.list("folder")) == ["folder/19"]


def test_a_folder_is_deleted_with_everything_in_it_and_no_other(store: ObjectStore):
    for key in ("a/b/1", "a/b/c/2", "a/bc/3", "d"):
        store.put(key, b"x")
    store.delete_folders(["a/b", "nowhere"])
    assert set(store.list("")) == {"a/bc/3", "d"}


def test_a_large_object_is_read_back_whole(store: ObjectStore, tmp_path: Path):
    content = secrets.token_bytes(20 << 20)
    (tmp_path / "large").write_bytes(content)
    store.put("large", tmp_path / "large")
    store.fetch("large", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == content


def test_an_object_is_written_in_one_request(bucket: str, objects: ObjectServer):
    place = bucket.partition("?")[0].removeprefix("s3:/")
    ObjectStore(bucket).put("key", b"x" * 100_000)
    assert [request for request in objects.requests if f"{place}/key" in request] == [f"PUT {place}/key"]


def test_a_missing_bucket_is_a_fault_and_not_an_outage(objects: ObjectServer):
    with pytest.raises(EnvironmentFault, match="NO_SUCH_BUCKET") as caught:
        ObjectStore(objects.url("nowhere")).put("key", b"x")
    assert not isinstance(caught.value, StoreUnavailable)


def test_the_endpoint_may_be_in_the_environment(bucket: str, objects: ObjectServer, monkeypatch: pytest.MonkeyPatch):
    ObjectStore(bucket).put("key", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", objects.endpoint)
    assert ObjectStore(bucket.split("?")[0]).get("key") == b"x"


def test_a_store_that_is_down_is_unavailable_and_answers_when_it_is_back(bucket: str, objects: ObjectServer):
    store = ObjectStore(bucket)
    with objects.down(), pytest.raises(StoreUnavailable, match="does not answer"):
        store.put("key", b"x")
    store.put("key", b"y")
    assert store.get("key") == b"y"
