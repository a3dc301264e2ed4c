"""Ctrl-C on `schedule serve`: nights under way are told; those that start are not hit amid their imports."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from overnight.flows.cli import serve
from overnight.flows.schedules.night_worker import NightWorker

NIGHT = """
import signal, sys
sys.stdin.readline()
told = lambda *_: sys.exit(7)
for number in (signal.SIGHUP, signal.SIGINT):
    signal.signal(number, told)
signal.pause()
"""


class Worker:
    """A worker with one night, whose process begins its night once it has been looked at some times."""

    def __init__(self, night: subprocess.Popen[bytes]) -> None:
        self.night = night
        self.is_draining = False
        self.limiter: Any = self
        self._looks = 0

    @property
    def borrowed_tokens(self) -> int:
        self._looks += 1
        if self._looks == 5:
            assert self.night.stdin is not None
            self.night.stdin.write(b"\n")
            self.night.stdin.flush()
        return int(self.night.poll() is None)


@pytest.mark.timeout(30)
@pytest.mark.skipif(sys.platform != "linux", reason="nights are found in /proc")
def test_a_night_that_starts_is_interrupted_once_it_has_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(serve, "_POLL_S", 0.01)
    command = [sys.executable, "-S", "-c", NIGHT, "prefect.engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as night:
        worker = Worker(night)
        try:
            asyncio.run(serve._drain(cast("NightWorker", worker), asyncio.Semaphore(0)))
        finally:
            night.kill()
        assert night.stderr is not None
        assert (night.wait(), night.stderr.read()) == (7, b"")
    assert worker.is_draining
    assert "one that is starting ends before its first" in capsys.readouterr().err


def test_no_night_begins_in_place_of_a_dead_one_once_serve_ends():
    worker = NightWorker("overnight", report=pytest.fail)
    worker._client = cast("Any", SimpleNamespace())
    worker.is_draining = True
    assert asyncio.run(worker.get_and_submit_flow_runs()) == []
