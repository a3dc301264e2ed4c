"""Any store: an object is there whole or not there, and what goes wrong is told for what it is."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from schemas.errors import EnvironmentFault, StoreUnavailable
from tasks.history.remote.object_store import ObjectStore
from tests.objects import ObjectServer


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """A new place on an S3 server, and one of fsspec's."""
    if request.param == "s3":
        return ObjectStore(request.getfixturevalue("bucket"))
    return ObjectStore(f"memory://{secrets.token_hex(6)}/histories")


def test_what_is_put_is_listed_and_got_back(store: ObjectStore, tmp_path: Path):
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


def test_what_is_put_again_is_replaced(store: ObjectStore):
    store.put("key", b"long and old")
    store.put("key", b"new")
    assert store.get("key") == b"new"


def test_what_is_not_there_is_said_to_be_missing(store: ObjectStore, tmp_path: Path):
    assert store.list("nowhere") == {}
    assert not store.has("nowhere/key")
    store.delete(["nowhere/key"])
    with pytest.raises(FileNotFoundError):
        store.get("nowhere/key")
    with pytest.raises(FileNotFoundError):
        store.fetch("nowhere/key", tmp_path / "fetched")


def test_what_is_deleted_is_gone_and_the_rest_is_not(store: ObjectStore):
    for number in range(20):
        store.put(f"folder/{number}", b"x")
    store.delete(f"folder/{number}" for number in range(19))
    assert list(store.list("folder")) == ["folder/19"]


def test_a_folder_is_deleted_with_all_that_is_in_it_and_no_other(store: ObjectStore):
    for key in ("a/b/1", "a/b/c/2", "a/bc/3", "d"):
        store.put(key, b"x")
    store.delete_folders(["a/b", "nowhere"])
    assert set(store.list("")) == {"a/bc/3", "d"}


def test_a_large_object_arrives_whole(store: ObjectStore, tmp_path: Path):
    content = secrets.token_bytes(20 << 20)
    (tmp_path / "large").write_bytes(content)
    store.put("large", tmp_path / "large")
    store.fetch("large", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == content


def test_an_object_is_one_request(bucket: str, objects: ObjectServer):
    place = bucket.partition("?")[0].removeprefix("s3:/")
    ObjectStore(bucket).put("key", b"x" * 100_000)
    assert [request for request in objects.requests if f"{place}/key" in request] == [f"PUT {place}/key"]


def test_a_bucket_that_is_not_there_is_refused_and_not_waited_for(objects: ObjectServer):
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
