"""The machine's slots: never more at a time than there are, none lost by a crash, none kept from others."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from tasks.evaluate.machine import MachineSlots

HOLDER = """
import sys, threading, time
from pathlib import Path
from tasks.evaluate.machine import MachineSlots

slots, begin = MachineSlots(2, Path(sys.argv[1])), time.time()
held = []
def work():
    while time.time() - begin < float(sys.argv[2]):
        with slots.one(threading.Event()):
            since = time.time()
            time.sleep(0.02)
            held.append((since, time.time()))
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(held)
"""


def most_at_a_time(spans: list[tuple[float, float]]) -> int:
    """How many of some spans of time overlap at most."""
    steps = sorted([(begin, 1) for begin, _ in spans] + [(end, -1) for _, end in spans])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_share_the_slots_and_neither_starves(tmp_path: Path):
    both = [holder(tmp_path, 2.5) for _ in range(2)]
    spans = [eval(process.communicate(timeout=60)[0]) for process in both]
    assert most_at_a_time(spans[0] + spans[1]) == 2
    begin, end = max(one[0][0] for one in spans), min(one[-1][1] for one in spans)
    shares = [sum(begin <= since <= end for since, _ in one) for one in spans]
    assert min(shares) > 0.6 * max(shares) > 0, shares


def test_what_a_killed_process_held_is_free(tmp_path: Path):
    killed = holder(tmp_path, 60)
    while not list(tmp_path.glob("[01]")):
        time.sleep(0.01)
    time.sleep(0.2)
    killed.kill()
    killed.communicate()
    slots, never = MachineSlots(2, tmp_path), threading.Event()
    with slots.one(never), slots.one(never):
        pass


def test_who_asks_for_more_slots_than_others_leaves_those_that_they_know_of(tmp_path: Path):
    never = threading.Event()
    with MachineSlots(4, tmp_path).one(never), MachineSlots(4, tmp_path).one(never):
        begin = time.monotonic()
        with MachineSlots(2, tmp_path).one(never), MachineSlots(2, tmp_path).one(never):
            assert time.monotonic() - begin < 1


def test_who_waits_is_let_go_when_nobody_waits_for_an_answer_any_more(tmp_path: Path):
    never, closing = threading.Event(), threading.Event()
    slots = MachineSlots(1, tmp_path)
    with slots.one(never):
        threading.Timer(0.1, closing.set).start()
        with slots.one(closing):
            assert closing.is_set()


def test_leave_costs_a_candidate_next_to_nothing(tmp_path: Path):
    slots, never, begin = MachineSlots(2, tmp_path), threading.Event(), time.process_time()
    for _ in range(1000):
        with slots.one(never):
            pass
    assert (time.process_time() - begin) / 1000 < 0.001
