"""Test the computation of starved time from the kernel's counters of each thread."""

from __future__ import annotations

import os
import signal
import time

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from overnight.tasks.evaluate.runner import starvation
from overnight.tasks.evaluate.runner.starvation import Counters, Starvation, ThreadSample


class Machine:
    """Threads with counters that a test sets."""

    def __init__(self) -> None:
        self.threads: dict[int, ThreadSample] = {}
        self.meter = Starvation(lambda: dict(self.threads))

    def put(self, thread: int, ran_s: float, waited_s: float, *, ready: bool = True) -> None:
        before = self.threads.get(thread)
        turns = before.counters.turns + 1 if before else 1
        self.threads[thread] = ThreadSample(Counters(ran_s, waited_s, turns), ready)

    def at(self, now: float) -> float:
        """Take a sample at this time and return the starved seconds."""
        self.meter.observe(now)
        return self.meter.seconds(now)


def started(**first: float) -> Machine:
    machine = Machine()
    machine.meter.begin_phase(100.0, {1: Counters(first.get("ran_s", 0.0), first.get("waited_s", 0.0), 1)})
    return machine


def test_waiting_for_a_processor_counts_as_starved():
    machine = started(ran_s=5.0, waited_s=7.0)
    machine.put(1, 5.1, 16.9)
    assert machine.at(110.0) == pytest.approx(9.9)


def test_sleeping_and_running_do_not_count_as_starved():
    machine = started()
    machine.put(1, 0.01, 0.001, ready=False)
    assert machine.at(110.0) == pytest.approx(0.001)
    machine = started()
    machine.put(1, 9.99, 0.01)
    assert machine.at(110.0) == pytest.approx(0.01)


def test_a_wait_in_progress_is_seen_by_two_samples():
    """The kernel counts a wait only when it is over."""
    machine = started()
    machine.put(1, 0.1, 0.0)
    assert machine.at(101.0) == 0.0
    assert machine.at(108.0) == pytest.approx(7.0), "nothing has moved since, and it is ready"
    machine.put(1, 0.2, 7.5)
    assert machine.at(109.0) == pytest.approx(7.5), "it ran again, and the wait is counted once"


def test_a_thread_that_is_stopped_or_asleep_between_two_samples_does_not_wait():
    machine = started()
    machine.put(1, 0.1, 0.0, ready=False)
    machine.at(101.0)
    assert machine.at(108.0) == 0.0


def test_threads_that_compete_with_each_other_are_not_starved():
    machine = started()
    for thread in range(1, 11):
        machine.put(thread, 1.0, 9.0)
    assert machine.at(110.0) == pytest.approx(0.0, abs=1e-9)
    # Then all of them sleep; no time has been saved up.
    for thread in range(1, 11):
        machine.put(thread, 1.0, 9.0, ready=False)
    assert machine.at(130.0) == pytest.approx(0.0, abs=1e-9)


def test_processes_that_take_turns_are_each_counted():
    machine = started()
    machine.put(1, 0.5, 8.0, ready=False)
    machine.put(2, 0.5, 10.0)
    assert 16.0 < machine.at(120.0) <= 18.0


def test_ended_processes_count_with_their_last_sample():
    machine = started()
    machine.put(2, 0.0, 0.0)
    machine.at(101.0)
    machine.at(105.0)
    machine.threads.clear()
    machine.put(3, 0.1, 3.0, ready=False)
    assert machine.at(110.0) == pytest.approx(7.0)


def test_a_pause_of_the_container_counts_and_a_new_phase_starts_at_zero():
    machine = started()
    machine.put(1, 0.1, 0.0, ready=False)
    machine.meter.add_pause(4.0)
    assert machine.at(110.0) == pytest.approx(4.0)
    machine.meter.begin_phase(110.0, {1: Counters(0.1, 0.0, 1)})
    assert not machine.meter.has_sampled
    assert machine.at(120.0) == 0.0


MOVES = st.tuples(st.integers(1, 4), st.floats(0, 2), st.floats(0, 2), st.booleans(), st.floats(0.01, 2))


@seed(11)
@settings(max_examples=3 * settings().max_examples)
@given(st.lists(MOVES, max_size=30), st.floats(0, 5))
def test_it_never_gets_more_processor_time_than_its_limit(
    moves: list[tuple[int, float, float, bool, float]], limit: float
):
    machine, now, ran = started(), 100.0, 0.0
    for thread, more_ran, more_waited, ready, passed in moves:
        before = machine.threads.get(thread, ThreadSample(Counters(0.0, 0.0, 0), ready)).counters
        machine.put(thread, before.ran_s + more_ran, before.waited_s + more_waited, ready=ready)
        now, ran = now + passed, ran + more_ran
        starved = machine.at(now)
        assert 0.0 <= starved <= max(0.0, now - 100.0)
        if now - 100.0 <= limit + starved:
            assert ran <= limit + 1e-6 or starved == 0.0


def test_real_counters_distinguish_waiting_from_sleeping_and_being_stopped():
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(60)
    try:
        meter = Starvation(lambda: starvation.sample_threads([child]))
        file = starvation.open_counters(child)
        if file is None:
            pytest.skip("this kernel counts nothing for threads")
        now = time.monotonic()
        meter.begin_phase(now, {child: starvation.read_counters(file)})
        os.close(file)
        meter.observe(now + 1)
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        meter.observe(now + 2)
        meter.observe(now + 50)
        assert meter.seconds(now + 50) < 1.0
        assert set(starvation.sample_threads([child])) == {child}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert starvation.sample_threads([child]) == {}
    assert starvation.open_counters(child) is None


def test_processor_time_that_no_sample_saw_is_subtracted_as_well():
    machine, ran = Machine(), [50.0]
    machine.meter = Starvation(lambda: dict(machine.threads), lambda: ran[0])
    machine.meter.begin_phase(100.0, {1: Counters(0.0, 0.0, 1)})
    machine.put(1, 1.0, 9.0)
    ran[0] += 10.0
    assert machine.at(110.0) == pytest.approx(0.0, abs=1e-9), "all that it waited for was its own"
    machine.meter.begin_phase(110.0, {1: Counters(1.0, 9.0, 2)})
    machine.put(1, 2.0, 18.0)
    ran[0] += 1.0
    assert machine.at(120.0) == pytest.approx(9.0), "nothing of its own ran but this"


def test_waiting_before_the_phase_began_does_not_count():
    machine = started()
    for thread in range(2, 12):
        machine.threads[thread] = ThreadSample(Counters(1.0, 9.0, 1), False, began=70.0)
    assert machine.at(105.0) == 0.0
    for thread in range(12, 22):
        machine.threads[thread] = ThreadSample(Counters(0.1, 2.0, 1), False, began=101.0)
    assert machine.at(105.0) > 2.0, "those are of this phase"


def test_the_start_of_a_process_is_measured_by_the_monotonic_clock():
    before = time.monotonic()
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        sample = starvation.sample_threads([child])[child]
        assert before - 0.05 < sample.began < time.monotonic() + 0.05
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_process_cannot_fake_its_state_by_its_name():
    asleep, said = os.pipe()
    child = os.fork()
    if child == 0:
        with open("/proc/self/comm", "w") as file:
            file.write(") R 1\n0 0 (")
        os.write(said, b".")
        time.sleep(60)
        os._exit(0)
    try:
        os.read(asleep, 1)
        before = time.monotonic() + 10
        while starvation.sample_threads([child])[child].is_ready:
            assert time.monotonic() < before, "it sleeps"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(asleep)
        os.close(said)
