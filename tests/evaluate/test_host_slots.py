"""Test the host's slots: their number is never exceeded, a crash releases them, and no process starves."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.evaluate import host_slots
from overnight.tasks.evaluate.host_slots import HostSlots

HOLDER = """
import sys, threading, time
from pathlib import Path
from overnight.tasks.evaluate.host_slots import HostSlots

slots, begin = HostSlots(2, Path(sys.argv[1])), time.time()
held = []
def work():
    while time.time() - begin < float(sys.argv[2]):
        with slots.acquire(threading.Event()):
            since = time.time()
            time.sleep(0.02)
            held.append((since, time.time()))
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(held)
"""


def most_at_a_time(spans: list[tuple[float, float]]) -> int:
    """Return the maximum number of spans of time that overlap."""
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
    begin, end = max(held[0][0] for held in spans), min(held[-1][1] for held in spans)
    shares = [sum(begin <= since <= end for since, _ in held) for held in spans]
    assert min(shares) > 0.6 * max(shares) > 0, shares


def test_it_is_seen_that_somebody_waits_for_a_slot(tmp_path: Path):
    slots, is_over = HostSlots(1, tmp_path), threading.Event()
    assert not slots.are_awaited()
    with contextlib.ExitStack() as held, ThreadPoolExecutor(1) as other:
        with slots.acquire(threading.Event()):
            assert not slots.are_awaited(), "it is held, and nobody waits"
            waiting = other.submit(lambda: held.enter_context(slots.acquire(is_over)))
            while not slots.are_awaited():
                time.sleep(0.001)
        waiting.result(60)
        assert not slots.are_awaited()


def test_a_killed_process_releases_its_slots(tmp_path: Path):
    killed = holder(tmp_path, 60)
    while not list(tmp_path.glob("[01]")):
        time.sleep(0.01)
    time.sleep(0.2)
    killed.kill()
    killed.communicate()
    slots, never = HostSlots(2, tmp_path), threading.Event()
    with slots.acquire(never), slots.acquire(never):
        pass


def test_a_night_with_more_slots_leaves_others_the_slots_that_they_know(tmp_path: Path):
    never = threading.Event()
    with HostSlots(4, tmp_path).acquire(never), HostSlots(4, tmp_path).acquire(never):
        begin = time.monotonic()
        with HostSlots(2, tmp_path).acquire(never), HostSlots(2, tmp_path).acquire(never):
            assert time.monotonic() - begin < 10


def test_a_waiting_evaluation_proceeds_once_the_pool_is_closing(tmp_path: Path):
    never, closing = threading.Event(), threading.Event()
    slots = HostSlots(1, tmp_path)
    with slots.acquire(never):
        threading.Timer(0.1, closing.set).start()
        with slots.acquire(closing):
            assert closing.is_set()


def test_the_folder_is_created_for_this_user_alone(tmp_path: Path):
    folder = tmp_path / "a" / "slots"
    with HostSlots(1, folder).acquire(threading.Event()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600, 0o600]


def link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def link_to_nothing(folder: Path) -> None:
    folder.symlink_to(folder.parent / "not-there")


def open_to_others(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


SQUATTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (link, "it is a link"),
    "a link to nothing": (link_to_nothing, "it is a link"),
    "a file": (lambda folder: folder.write_text(""), "it is not a directory"),
    "open to others": (open_to_others, r"others may enter it \(mode 0755\)"),
}


@pytest.mark.parametrize(("squat", "says"), SQUATTED.values(), ids=SQUATTED)
def test_a_folder_that_others_may_have_created_is_refused_with_a_remedy(
    tmp_path: Path, squat: Callable[[Path], object], says: str
):
    folder = tmp_path / "slots"
    squat(folder)
    with pytest.raises(EnvironmentFault, match=says) as refused:
        HostSlots(1, folder)
    assert "OVERNIGHT_SLOTS=" in refused.value.remedy
    assert not (tmp_path / "not-there").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_another_user_s_folder_is_refused(tmp_path: Path):
    folder = tmp_path / "slots"
    folder.mkdir(mode=0o700)
    os.chown(folder, 4711, -1)
    with pytest.raises(EnvironmentFault, match="it belongs to user 4711"):
        HostSlots(1, folder)


def test_a_folder_that_is_later_replaced_by_a_link_is_refused(tmp_path: Path):
    slots = HostSlots(1, tmp_path / "slots")
    (tmp_path / "slots").rename(tmp_path / "before")
    link(tmp_path / "slots")
    with pytest.raises(EnvironmentFault, match="it is a link"), slots.acquire(threading.Event()):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path):
    (tmp_path / "next").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="next"), HostSlots(1, tmp_path).acquire(threading.Event()):
        pass
    assert not (tmp_path / "precious").exists()


def test_a_deleted_folder_is_created_again(tmp_path: Path):
    slots = HostSlots(1, tmp_path / "slots")
    shutil.rmtree(tmp_path / "slots")
    with slots.acquire(threading.Event()):
        assert (tmp_path / "slots" / "0").exists()


HOLDS = """
import sys, threading
from pathlib import Path
from overnight.tasks.evaluate.host_slots import HostSlots
HostSlots.holder = sys.argv[2]
with HostSlots(1, Path(sys.argv[1])).acquire(threading.Event()):
    print(flush=True)
    input()
"""


@pytest.mark.parametrize("holder", ["run toy, night 2", ""])
def test_a_long_wait_is_logged_once_with_the_process_that_holds_the_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, holder: str
):
    monkeypatch.setattr(host_slots, "_WARN_AFTER_S", 0.0)
    monkeypatch.setattr(host_slots, "_warned_at", {})
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path), holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holding:
        assert holding.stdout is not None
        holding.stdout.readline()
        told, closing = threading.Event(), threading.Event()

        def wait() -> None:
            with HostSlots(1, tmp_path).acquire(closing):
                told.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        while not caplog.records:
            time.sleep(0.01)
        assert f"process {holding.pid} ({holder or '-c'}" in caplog.text
        assert str(tmp_path) in caplog.text
        holding.communicate("\n", timeout=30)
        waiting.join(30)
        assert told.is_set()
        first, last = caplog.messages
        work, _, _ = first.partition(" has waited ")
        assert last.startswith("a slot of this machine was free after ")
        assert last.endswith(f"; {work} goes on"), "it may be a report, and no night"


def test_acquiring_a_free_slot_takes_less_than_a_millisecond(tmp_path: Path):
    slots, never, begin = HostSlots(2, tmp_path), threading.Event(), time.process_time()
    for _ in range(1000):
        with slots.acquire(never):
            pass
    assert (time.process_time() - begin) / 1000 < 0.001


def test_who_holds_slots_is_told_and_free_ones_are_left_out(tmp_path: Path):
    slots = HostSlots(2, tmp_path)
    assert slots.holders() == []
    with slots.acquire(threading.Event()):
        (holder,) = slots.holders()
        assert host_slots.is_own(holder)
    (tmp_path / "0").write_text("process 1 (a night that was killed)")
    assert slots.holders() == []
