"""The lease on a run: at most one holder at a time, despite deaths, sleep and simultaneous contenders."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from overnight.schemas.errors import EnvironmentFault, RunIsBusy, StoreUnavailable
from overnight.tasks.history.remote import lease
from overnight.tasks.history.remote.lease import Lease
from overnight.tasks.history.remote.object_store import ObjectStore

SECONDS = 3.0


@pytest.fixture
def store(bucket: str, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setattr(lease, "SECONDS", SECONDS)
    return ObjectStore(bucket)


def claim(store: ObjectStore, name: str) -> Lease:
    return Lease(store, "runs/r/lock", name)


def stop_renewing(holder: Lease) -> None:
    """Stop renewing the claim, as a dead process does."""
    holder._released.set()
    holder._thread.join()


def test_a_second_contender_learns_the_holder_and_leaves_no_claim(store: ObjectStore):
    first, second = claim(store, "one"), claim(store, "other")
    first.take()
    with pytest.raises(RunIsBusy, match="is under way on"):
        second.take()
    assert list(store.list("runs/r/lock")) == ["runs/r/lock/one"]
    first.release()
    assert store.list("runs/r/lock") == {}
    second.take()
    second.release()


def test_a_held_lease_is_renewed(store: ObjectStore):
    holder = claim(store, "one")
    holder.take()
    time.sleep(SECONDS * 1.5)
    holder.require()
    with pytest.raises(RunIsBusy):
        claim(store, "other").take()
    holder.release()


def test_the_claim_of_a_dead_holder_expires_and_it_may_not_write(store: ObjectStore):
    dead, heir = claim(store, "dead"), claim(store, "heir")
    dead.take()
    stop_renewing(dead)
    with pytest.raises(RunIsBusy) as caught:
        heir.take()
    assert "If it was killed, try again in" in caught.value.remedy
    time.sleep(SECONDS + 0.1)
    heir.take()
    with pytest.raises(RunIsBusy):
        dead.require()
    heir.require()
    heir.release()


def test_the_claim_of_a_killed_process_is_taken_over_at_once_in_the_same_copy(store: ObjectStore):
    killed, successor = claim(store, "copy"), claim(store, "copy")
    killed.take()
    stop_renewing(killed)
    successor.take()
    successor.release()


def test_a_holder_whose_machine_slept_gets_one_error(store: ObjectStore):
    sleeper = claim(store, "sleeper")
    sleeper.take()
    stop_renewing(sleeper)
    time.sleep(SECONDS)
    with pytest.raises(StoreUnavailable, match="had expired"):
        sleeper.require()
    sleeper.require()


def test_of_many_simultaneous_contenders_at_most_one_holds_it(store: ObjectStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease, "SECONDS", 60.0)
    together = Barrier(6)

    def contend(name: str) -> Lease | None:
        contender = claim(store, name)
        together.wait()
        try:
            contender.take()
        except (RunIsBusy, StoreUnavailable):  # this server also fails reads of objects that are just being removed
            return None
        return contender

    for _ in range(3):
        with ThreadPoolExecutor(6) as threads:
            holders = [contender for contender in threads.map(contend, "abcdef") if contender]
        assert len(holders) <= 1
        for holder in holders:
            holder.release()
        assert store.list("runs/r/lock") == {}


def test_a_store_without_modification_times_is_refused():
    with pytest.raises(EnvironmentFault, match="does not say when"):
        claim(ObjectStore("memory://somewhere/histories"), "one").take()
