"""A claim on a run: one holder at a time, whoever dies, sleeps or comes at the same moment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from schemas.errors import EnvironmentFault, RunIsBusy, StoreUnavailable
from tasks.history.remote import lease
from tasks.history.remote.lease import Lease
from tasks.history.remote.object_store import ObjectStore

SECONDS = 3.0


@pytest.fixture
def store(bucket: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(lease, "SECONDS", SECONDS)
    return ObjectStore(bucket)


def claim(store: ObjectStore, name: str) -> Lease:
    return Lease(store, "runs/r/lock", name)


def die(one: Lease) -> None:
    """No further sign of life."""
    one._released.set()
    one._thread.join()


def test_while_one_holds_it_another_is_told_who_and_leaves_nothing(store: ObjectStore):
    one, other = claim(store, "one"), claim(store, "other")
    one.take()
    with pytest.raises(RunIsBusy, match="is under way on"):
        other.take()
    assert list(store.list("runs/r/lock")) == ["runs/r/lock/one"]
    one.release()
    assert store.list("runs/r/lock") == {}
    other.take()
    other.release()


def test_it_is_renewed_for_as_long_as_it_is_held(store: ObjectStore):
    one = claim(store, "one")
    one.take()
    time.sleep(SECONDS * 1.5)
    one.require()
    with pytest.raises(RunIsBusy):
        claim(store, "other").take()
    one.release()


def test_a_dead_holders_claim_runs_out_and_it_may_write_no_more(store: ObjectStore):
    dead, heir = claim(store, "dead"), claim(store, "heir")
    dead.take()
    die(dead)
    with pytest.raises(RunIsBusy) as caught:
        heir.take()
    assert "If it was killed, try again in" in caught.value.remedy
    time.sleep(SECONDS + 0.1)
    heir.take()
    with pytest.raises(RunIsBusy):
        dead.require()
    heir.require()
    heir.release()


def test_what_a_killed_process_left_is_taken_at_once_in_the_same_copy(store: ObjectStore):
    killed, successor = claim(store, "copy"), claim(store, "copy")
    killed.take()
    die(killed)
    successor.take()
    successor.release()


def test_a_holder_that_slept_is_told_once_that_others_may_have_written(store: ObjectStore):
    sleeper = claim(store, "sleeper")
    sleeper.take()
    die(sleeper)
    time.sleep(SECONDS)
    with pytest.raises(StoreUnavailable, match="had expired"):
        sleeper.require()
    sleeper.require()


def test_of_many_at_the_same_moment_at_most_one_holds_it(store: ObjectStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "SECONDS", 60.0)
    together = Barrier(6)

    def contend(name: str) -> Lease | None:
        one = claim(store, name)
        together.wait()
        try:
            one.take()
        except (RunIsBusy, StoreUnavailable):  # this server also fails who reads what is just being removed
            return None
        return one

    for _ in range(3):
        with ThreadPoolExecutor(6) as threads:
            holders = [one for one in threads.map(contend, "abcdef") if one]
        assert len(holders) <= 1
        for one in holders:
            one.release()
        assert store.list("runs/r/lock") == {}


def test_a_store_that_tells_no_times_keeps_no_two_nights_apart_and_is_refused():
    with pytest.raises(EnvironmentFault, match="does not say when"):
        claim(ObjectStore("memory://somewhere/histories"), "one").take()
