"""A long run over HTTP with faults and kills: each completion is used once, and neither memory nor time grows."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Answer, Provider, Request, default_response
from tests.accidents import Accidents, NightProcess, wait_until
from tests.engine import PrivateEngine

pytestmark = [pytest.mark.docker, pytest.mark.prefect, pytest.mark.slow]

GENERATIONS = int(os.environ.get("OVERNIGHT_SOAK_GENERATIONS", "400"))
KILLS = 8
IN_FLIGHT_S = 5.0
"""Seconds before a kill within which an answer may have been sent but not stored."""


class RecordingScript:
    """Script of the provider: it marks and records every answer, and one in eight requests fails."""

    def __init__(self, seed: int) -> None:
        self.sent: dict[str, float] = {}
        self.faults = 0
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, number: int, request: Request) -> Answer:
        with self._lock:
            fault = self._random.random()
        if fault < 0.125:
            self.faults += 1
            return self._fault(fault)
        body = default_response(request, number)
        for choice in body["choices"]:
            mark = f"answer-{number}-{choice['index']}"
            choice["message"]["content"] += f"\n\n# {mark}\n"
            self.sent[mark] = time.monotonic()
        return Answer(body)

    def _fault(self, fault: float) -> Answer:
        if fault < 0.05:
            return Answer({"error": {"message": "overloaded"}}, status=503)
        if fault < 0.10:
            return Answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"})
        return Answer(b"<html>bad gateway</html>", status=502)


class Meter:
    """Sampler of a night's memory and processor time.

    Attributes:
        mib: Resident memory in MiB.
        spent: Pairs of committed generations and processor time until then in seconds.
    """

    def __init__(self, night: NightProcess) -> None:
        self.mib: list[float] = []
        self.spent: list[tuple[int, float]] = []
        self._night = night
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        process, ticks = Path(f"/proc/{self._night.pid}"), os.sysconf("SC_CLK_TCK")
        while not self._is_over.wait(0.25):
            if found := re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text()):
                self.mib.append(int(found[1]) / 1024)
            times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            self.spent.append((len(self._night.files.committed()), sum(map(int, times)) / ticks))

    def cpu_s_a_generation(self) -> tuple[float, float]:
        """Return the processor time per generation in the second tenth of the samples and in the last."""
        tenth = len(self.spent) // 10
        spans = self.spent[tenth : 2 * tenth], self.spent[-tenth:]
        early, late = ((span[-1][1] - span[0][1]) / (span[-1][0] - span[0][0]) for span in spans)
        return round(early, 4), round(late, 4)


@pytest.fixture
def night(
    engine: PrivateEngine, prefect_api: str, tmp_path: Path, provider: Provider, toy: Path
) -> Iterator[Callable[[], NightProcess]]:
    process = NightProcess(tmp_path / "history", {"PREFECT_API_URL": prefect_api, "OPENAI_API_KEY": "test"})
    model = ["--model", "openai/test", "--api-base", provider.api_base]

    def start() -> NightProcess:
        process.start(str(toy), *model, "--seed", "1", "--set", "sampling.batch=1")
        return process

    yield start
    process.kill_if_running()


@pytest.mark.timeout(3600)
def test_a_long_run(
    night: Callable[[], NightProcess],
    provider: Provider,
    engine: PrivateEngine,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    script = RecordingScript(seed=1)
    provider.script = script
    process = night()
    killed = cause_kills(process, Accidents(process, engine, seed=1), until=GENERATIONS * 2 // 5)
    process.kill()
    killed.append(time.monotonic())
    process.resume("--generations", str(GENERATIONS + 1 - len(process.files.committed())))
    with Meter(process) as meter:
        wait_until(lambda: len(process.files.committed()) > GENERATIONS, timeout_s=3000)
    process.wait_for_success()
    database = Database(tmp_path / "history")
    figures = {
        **completions(database, process, script, killed),
        "requests": len(provider.requests),
        "faults": script.faults,
        "kills": len(killed),
        "seconds a generation": steady(seconds(database)),
        "CPU seconds a generation": meter.cpu_s_a_generation(),
        "MiB": steady(meter.mib),
    }
    with capsys.disabled():
        print(json.dumps(figures))  # noqa: T201  the figures are the result of a soak test
    assert figures["twice"] == figures["lost"] == 0
    assert figures["in flight at a kill"] <= len(killed) * 16
    for name in ("CPU seconds a generation", "MiB"):  # wall time also depends on other load
        before, after = figures[name]
        assert after <= before * 1.25, name
    best = [row["best_score"] for row in database.rows("FROM generations WHERE state = 'committed' ORDER BY place")]
    assert all(earlier <= later for earlier, later in pairwise(best))
    assert database.rows("FROM programs WHERE outcome = 'sandbox_error'") == []
    assert engine.containers() == []
    assert process.leftovers() == []


def cause_kills(night: NightProcess, accidents: Accidents, until: int) -> list[float]:
    """Kill containers and the night, spread evenly over the generations; return the times of the night's kills."""
    names = accidents.shuffled(container=KILLS, night=KILLS)
    killed: list[float] = []
    for turn, name in enumerate(names, start=1):
        wait_until(lambda turn=turn: len(night.files.committed()) > turn * until // len(names), timeout_s=600)
        moment = time.monotonic()
        accidents.cause(name)
        if name == "night":
            killed.append(moment)
    return killed


def completions(
    database: Database, night: NightProcess, script: RecordingScript, killed: list[float]
) -> dict[str, int]:
    """Count the provider's answers: in the history, stored twice, in flight at a kill, and lost."""
    texts = [row["completion"] for row in database.rows("SELECT completion FROM programs WHERE generation > 0")]
    stored = [path.read_text() for path in (night.files.directory / "paid").glob("*.jsonl")]
    marks = [mark for text in (*texts, *stored) for mark in re.findall(r"answer-\d+-\d+", text)]
    missing = script.sent.keys() - set(marks)
    in_flight = {m for m in missing if any(-IN_FLIGHT_S < script.sent[m] - kill < 3 * IN_FLIGHT_S for kill in killed)}
    return {
        "paid": len(script.sent),
        "in the history": len(texts),
        "twice": len(marks) - len(set(marks)),
        "in flight at a kill": len(in_flight),
        "lost": len(missing - in_flight),
    }


def seconds(database: Database) -> list[float]:
    """Return the seconds between the ends of successive generations of a night."""
    rows = database.rows(
        "SELECT epoch(ended_at) - lag(epoch(ended_at)) OVER (PARTITION BY night ORDER BY place) AS s "
        "FROM generations WHERE state = 'committed' AND generation > 0 ORDER BY place"
    )
    return [row["s"] for row in rows if row["s"] is not None]


def steady(values: list[float]) -> tuple[float, float]:
    """Return the medians of the second tenth and of the last."""
    tenth = len(values) // 10
    return round(median(values[tenth : 2 * tenth]), 3), round(median(values[-tenth:]), 3)
