"""Slots of a cluster: which machine is taken, which is set aside and for how long, and when nobody waits any longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from overnight.tasks.evaluate.cluster import slots as module
from overnight.tasks.evaluate.cluster.dask_client import Machine
from overnight.tasks.evaluate.cluster.slots import ClusterSlots
from tests.accidents import wait_until

LONG_S = 60.0
"""Seconds that no test waits for, however busy the machine is."""


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.01)


def machine(name: str, slots: int = 1) -> Machine:
    return Machine(f"tcp://{name}", name, slots)


BIG, SMALL, OTHER = machine("big", 4), machine("small", 2), machine("other", 2)


def slots_of(*machines: Machine, no_machine_s: float = LONG_S, aside_s: float = LONG_S) -> ClusterSlots:
    slots = ClusterSlots(no_machine_s, aside_s)
    show(slots, *machines)
    return slots


def show(slots: ClusterSlots, *machines: Machine) -> None:
    """Have the slots look at these machines, and no others."""
    slots.update({machine.address: machine for machine in machines})


@contextmanager
def taken_of(slots: ClusterSlots) -> Iterator[Machine]:
    """Hold a slot."""
    machine = slots.take(lambda _: True, lambda: False)
    assert machine is not None
    yield machine
    slots.release(machine)


class Holder:
    """Takes slots and holds them until `release`; in other threads where it may have to wait."""

    def __init__(self, slots: ClusterSlots) -> None:
        self._slots = slots
        self._held: list[Machine] = []
        self._threads = ThreadPoolExecutor(8)
        self._asked = threading.Event()
        self.is_closed = False

    def take(self, confirmed: str = "", may_take: Callable[[Machine], bool] = lambda _: True) -> str:
        """Return the name of the machine whose slot was taken; empty if there is none."""
        taken = self._slots.take(may_take, self._is_closed, confirmed)
        if taken is None:
            return ""
        self._held.append(taken)
        return taken.name

    def begin(self, confirmed: str = "", may_take: Callable[[Machine], bool] = lambda _: True) -> Future[str]:
        """Take a slot in another thread; return once that has begun to look for one."""
        self._asked.clear()
        future = self._threads.submit(self.take, confirmed, may_take)
        assert self._asked.wait(LONG_S)
        return future

    def _is_closed(self) -> bool:
        self._asked.set()
        return self.is_closed

    def release(self, name: str) -> None:
        """Give back a slot of a machine."""
        place = next(place for place, held in enumerate(self._held) if held.name == name)
        self._slots.release(self._held.pop(place))

    def close(self) -> None:
        self.is_closed = True
        self._slots.notify()
        self._threads.shutdown()


@pytest.fixture
def hold() -> Iterator[Callable[[ClusterSlots], Holder]]:
    with ExitStack() as stack:

        def make(slots: ClusterSlots) -> Holder:
            holder = Holder(slots)
            stack.callback(holder.close)
            return holder

        yield make


Hold = Callable[[ClusterSlots], Holder]


def test_the_machine_with_the_largest_share_of_free_slots_is_taken_first(hold: Hold):
    holder = hold(slots_of(SMALL, BIG))
    assert holder.take() == "small", "all are free: the first one"
    assert holder.take() == "big", "all of 4 are free, and half of 2"
    assert holder.take() == "big", "three quarters, and a half"
    assert sorted(holder.take() for _ in range(3)) == ["big", "big", "small"]
    holder.release("big")
    assert holder.take() == "big"


def test_whoever_finds_all_slots_used_waits_until_one_is_free(hold: Hold):
    holder = hold(slots_of(machine("a"), machine("b")))
    assert {holder.take(), holder.take()} == {"a", "b"}
    waiting = holder.begin()
    assert not waiting.done()
    holder.release("b")
    assert waiting.result(LONG_S) == "b"


def test_those_that_wait_are_served_in_the_order_in_which_they_came(hold: Hold):
    holder = hold(slots_of(machine("a")))
    holder.take()
    waiting = [holder.begin() for _ in range(4)]
    for position, one in enumerate(waiting):
        holder.release("a")
        assert one.result(LONG_S) == "a"
        assert not any(later.done() for later in waiting[position + 1 :])


def test_whoever_may_not_take_a_free_slot_keeps_no_later_one_waiting(hold: Hold):
    holder = hold(slots_of(machine("a"), machine("b")))
    assert {holder.take(), holder.take()} == {"a", "b"}
    choosy = holder.begin(may_take=lambda one: one.name == "b")
    other = holder.begin()
    holder.release("a")
    assert other.result(LONG_S) == "a"
    assert not choosy.done()
    holder.release("b")
    assert choosy.result(LONG_S) == "b"


def test_used_slots_are_no_reason_to_give_up(hold: Hold):
    holder = hold(slots_of(machine("a"), no_machine_s=0.05))
    holder.take()
    waiting = holder.begin()
    time.sleep(0.1)
    assert not waiting.done()
    holder.release("a")
    assert waiting.result(LONG_S) == "a"


def test_a_machine_that_is_there_is_seen_however_long_its_slots_were_used(hold: Hold):
    holder = hold(slots_of(machine("a"), no_machine_s=0))
    assert holder.take() == "a"
    waiting = holder.begin()
    holder.release("a")
    assert waiting.result(LONG_S) == "a"


def test_many_threads_never_hold_more_slots_than_there_are():
    slots, lock = slots_of(BIG, SMALL), threading.Lock()
    held, most = {"big": 0, "small": 0}, {"big": 0, "small": 0}

    def work(_: int) -> None:
        with taken_of(slots) as taken:
            with lock:
                held[taken.name] += 1
                most[taken.name] = max(most[taken.name], held[taken.name])
            time.sleep(0.0005)
            with lock:
                held[taken.name] -= 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(200)))
    assert held == {"big": 0, "small": 0}
    assert most["big"] <= 4
    assert most["small"] <= 2


def test_only_machines_that_may_be_taken_are(hold: Hold):
    holder = hold(slots_of(BIG, SMALL))
    assert [holder.take(may_take=lambda one: one is SMALL) for _ in range(2)] == ["small", "small"]
    opened = set[str]()
    waiting = holder.begin(may_take=lambda one: one.name in opened)
    opened.add("big")
    assert waiting.result(LONG_S) == "big"


def test_a_machine_that_joins_is_taken_by_those_that_wait(hold: Hold):
    slots = slots_of(machine("a"))
    holder = hold(slots)
    holder.take()
    waiting = holder.begin()
    show(slots, machine("a"), machine("b"))
    assert waiting.result(LONG_S) == "b"


def test_a_machine_that_left_is_not_taken_and_one_with_its_name_begins_with_all_slots_free(hold: Hold):
    slots = slots_of(Machine("tcp://first", "a", 1))
    holder = hold(slots)
    holder.take()
    waiting = holder.begin()
    show(slots)
    assert not waiting.done()
    show(slots, Machine("tcp://second", "a", 1))
    assert waiting.result(LONG_S) == "a"
    holder.release("a")
    holder.release("a")
    assert holder.take() == "a"


def test_a_confirmation_goes_to_another_machine_than_the_evaluation(hold: Hold):
    slots = slots_of(SMALL, OTHER)
    slots.note_answer(SMALL, 10.0, "program")
    slots.note_answer(OTHER, 10.0, "another")
    holder = hold(slots)
    assert holder.take("program") == "other"
    assert holder.take("another") == "small"
    assert holder.take("never evaluated") in ("small", "other")


def test_a_confirmation_waits_for_another_machine_that_is_busy(hold: Hold):
    slots = slots_of(BIG, machine("other"))
    slots.note_answer(BIG, 10.0, "program")
    holder = hold(slots)
    assert holder.take(may_take=lambda one: one.name == "other") == "other"
    waiting = holder.begin("program")
    assert not waiting.done(), "big is free, but has evaluated it"
    holder.release("other")
    assert waiting.result(LONG_S) == "other"


def test_a_confirmation_waits_for_another_machine_that_has_not_opened_its_job_yet(hold: Hold):
    slots, opened = slots_of(BIG, OTHER), {"big"}
    slots.note_answer(BIG, 10.0, "program")
    waiting = hold(slots).begin("program", lambda one: one.name in opened)
    time.sleep(0.05)
    assert not waiting.done(), "big may be taken, but has evaluated it"
    opened.add("other")
    assert waiting.result(LONG_S) == "other"


def test_a_confirmation_goes_to_the_same_machine_where_it_is_the_only_one(hold: Hold):
    slots = slots_of(BIG)
    slots.note_answer(BIG, 10.0, "program")
    assert hold(slots).take("program") == "big"


def test_a_confirmation_goes_to_the_same_machine_if_no_other_opens_its_job_for_a_while(hold: Hold):
    slots = slots_of(BIG, OTHER, no_machine_s=0.05)
    slots.note_answer(BIG, 10.0, "program")
    assert hold(slots).take("program", lambda one: one is BIG) == "big"


def test_a_confirmation_that_no_machine_can_run_is_given_up(hold: Hold):
    slots = slots_of(BIG, OTHER, no_machine_s=0.05)
    slots.note_answer(BIG, 10.0, "program")
    assert hold(slots).take("program", lambda _: False) == ""


def test_programs_that_were_evaluated_long_ago_are_forgotten(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    slots = slots_of(SMALL, OTHER)
    for program in ("first", "second", "third"):
        slots.note_answer(SMALL, 10.0, program)
    holder = hold(slots)
    assert holder.take("first") == "small"
    holder.release("small")
    assert [holder.take("second"), holder.take("third")] == ["other", "other"]


def test_a_machine_that_is_set_aside_is_not_taken_until_its_time_is_over(hold: Hold):
    slots = slots_of(BIG, SMALL, aside_s=0.05)
    assert slots.is_usable(BIG)
    began = time.monotonic()
    assert slots.set_aside(BIG, "it is broken")
    assert not slots.is_usable(BIG)
    holder = hold(slots)
    assert [holder.take(), holder.take()] == ["small", "small"]
    waiting = holder.begin()
    wait_for_return(slots, BIG, SMALL)
    assert time.monotonic() - began >= 0.05
    assert slots.is_usable(BIG)
    assert waiting.result(LONG_S) == "big"


def wait_for_return(slots: ClusterSlots, first: Machine, *others: Machine) -> None:
    """Wait until a machine is no longer set aside."""

    def is_back() -> bool:
        show(slots, first, *others)
        return slots.is_usable(first)

    wait_until(is_back)


def test_a_machine_is_set_aside_once_for_all_programs_that_it_loses_at_the_same_time():
    slots = slots_of(BIG, aside_s=0.01)
    assert slots.set_aside(BIG, "it lost one")
    assert not slots.set_aside(BIG, "it lost another")
    wait_for_return(slots, BIG)


def test_a_machine_that_is_set_aside_again_and_again_is_told_once_until_it_answers():
    slots = slots_of(BIG)
    told = list[bool]()
    for _ in range(3):
        told.append(slots.set_aside(BIG, "it is broken"))
        assert not slots.is_usable(BIG)
        end_aside(slots, BIG)
    slots.note_answer(BIG, 10.0)
    assert slots.set_aside(BIG, "it is broken")
    assert told == [True, False, False]


def test_a_machine_that_left_is_not_set_aside():
    slots = slots_of(BIG)
    assert not slots.set_aside(SMALL, "it left")
    assert "small" not in slots.reasons()


def end_aside(slots: ClusterSlots, one: Machine) -> None:
    slots._aside[one.address] = time.monotonic(), ""
    show(slots, one)
    assert slots.is_usable(one)


def test_without_a_machine_for_a_while_none_is_taken(hold: Hold):
    began = time.monotonic()
    assert hold(slots_of(no_machine_s=0.05)).take() == ""
    assert time.monotonic() - began >= 0.05
    aside = slots_of(BIG, no_machine_s=0.05)
    aside.set_aside(BIG, "it is broken")
    assert hold(aside).take() == ""
    assert hold(slots_of(BIG, no_machine_s=0.05)).take(may_take=lambda _: False) == ""


def test_a_machine_that_is_back_is_taken_by_those_that_wait(hold: Hold):
    slots = slots_of(BIG)
    slots.set_aside(BIG, "it is broken")
    waiting = hold(slots).begin()
    end_aside(slots, BIG)
    assert waiting.result(LONG_S) == "big"


def test_closing_wakes_those_that_wait(hold: Hold, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_WAIT_S", LONG_S)
    slots = slots_of(machine("a"))
    holder = hold(slots)
    holder.take()
    waiting = [holder.begin() for _ in range(5)]
    assert not any(one.done() for one in waiting)
    holder.is_closed = True
    slots.notify()
    assert [one.result(LONG_S) for one in waiting] == [""] * 5
    assert holder.take() == "", "nor is one taken afterwards"


def test_the_reasons_name_the_machines_that_are_set_aside():
    slots = slots_of(BIG, SMALL)
    assert slots.reasons() == ": it has no machine"
    slots.set_aside(BIG, "it has no engine")
    slots.set_aside(SMALL, "it left")
    assert slots.reasons() == ": big: it has no engine; small: it left"


def test_of_short_programs_a_machine_has_some_more_than_slots_and_of_long_ones_it_has_not(hold: Hold):
    slots = slots_of(BIG)
    for _ in range(50):
        slots.note_answer(BIG, 0.05)
    holder = hold(slots)
    assert [holder.take() for _ in range(6)] == ["big"] * 6
    waiting = holder.begin()
    assert not waiting.done(), "four run, two wait on the machine"
    for _ in range(50):
        slots.note_answer(BIG, 5.0)
    holder.release("big")
    time.sleep(0.05)
    assert not waiting.done(), "five are there, for four slots"
    holder.release("big")
    holder.release("big")
    assert waiting.result(LONG_S) == "big"


def test_a_confirmation_waits_for_another_machine_that_was_set_aside_once(hold: Hold):
    slots = slots_of(BIG, OTHER, aside_s=0.2)
    slots.note_answer(BIG, 10.0, "program")
    holder = hold(slots)
    slots.set_aside(OTHER, "it lost a program")
    waiting = holder.begin("program")
    time.sleep(0.05)
    assert not waiting.done(), "big is free, but has evaluated it"
    wait_for_return(slots, OTHER, BIG)
    assert waiting.result(LONG_S) == "other"
    slots.set_aside(OTHER, "it lost another")
    assert holder.take("program") == "big", "other seems to be broken"


def test_the_states_of_the_machines_tell_what_they_did_and_who_is_set_aside_why():
    slots = slots_of(SMALL, BIG, aside_s=100)
    for _ in range(3):
        slots.note_answer(BIG, 1.0)
    slots.set_aside(SMALL, "it has no engine")
    slots.set_aside(SMALL, "it lost another program at the same time")
    big, small = slots.states()
    assert (big.name, big.slots, big.programs, big.faults, big.aside_s, big.reason) == ("big", 4, 3, 0, None, "")
    assert big.per_minute > 0
    assert (small.name, small.programs, small.per_minute, small.faults) == ("small", 0, 0.0, 2)
    assert small.aside_s == pytest.approx(100, abs=50)
    assert small.reason == "it has no engine"
    assert slots.faults() == {"small": 2}


def test_faults_of_a_machine_that_left_are_remembered():
    slots = slots_of(BIG)
    show(slots)
    slots.set_aside(BIG, "the machine left the cluster")
    assert slots.states() == []
    assert slots.faults() == {"big": 1}


def test_the_rate_is_that_of_the_last_minute(monkeypatch: pytest.MonkeyPatch):
    slots, now = slots_of(BIG), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1000)
    slots.note_answer(BIG, 1.0)
    monkeypatch.setattr(time, "monotonic", lambda: now + 1030)
    slots.note_answer(BIG, 1.0)
    assert slots.states()[0].per_minute == 2
    monkeypatch.setattr(time, "monotonic", lambda: now + 1070)
    assert slots.states()[0].per_minute == 1
