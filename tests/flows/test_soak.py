"""A long run over HTTP with faults and kills: what was paid for is there once, and neither memory nor time grows."""

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

from tasks.history.database import Database
from tests.accidents import Accidents, Night, wait_until
from tests.engine import PrivateEngine
from tests.provider import Answer, Provider, Request, default_response

pytestmark = [pytest.mark.docker, pytest.mark.prefect, pytest.mark.slow]

GENERATIONS = int(os.environ.get("OVERNIGHT_SOAK_GENERATIONS", "400"))
KILLS = 8
IN_FLIGHT_S = 5.0
"""An answer that went out so long before a kill may not have been written down."""


class Shop:
    """The provider's script: every answer is marked and entered, one in eight requests meets a fault."""

    def __init__(self, seed: int) -> None:
        self.sold: dict[str, float] = {}
        self.faults = 0
        self._chance = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self, number: int, request: Request) -> Answer:
        with self._lock:
            fault = self._chance.random()
        if fault < 0.125:
            self.faults += 1
            return self._fault(fault)
        body = default_response(request, number)
        for choice in body["choices"]:
            mark = f"answer-{number}-{choice['index']}"
            choice["message"]["content"] += f"\n\n# {mark}\n"
            self.sold[mark] = time.monotonic()
        return Answer(body)

    def _fault(self, fault: float) -> Answer:
        if fault < 0.05:
            return Answer({"error": {"message": "overloaded"}}, status=503)
        if fault < 0.10:
            return Answer({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "0"})
        return Answer(b"<html>bad gateway</html>", status=502)


class Meter:
    """What a night's process takes, sampled while it lives.

    Attributes:
        mib: What it holds, MiB.
        spent: Generations that are committed, and its processor time until then, seconds.
    """

    def __init__(self, night: Night) -> None:
        self.mib: list[float] = []
        self.spent: list[tuple[int, float]] = []
        self._night = night
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process, ticks = Path(f"/proc/{self._night.pid}"), os.sysconf("SC_CLK_TCK")
        while not self._over.wait(0.25):
            if found := re.search(r"VmRSS:\s+(\d+) kB", (process / "status").read_text()):
                self.mib.append(int(found[1]) / 1024)
            times = (process / "stat").read_text().rpartition(")")[2].split()[11:13]
            self.spent.append((len(self._night.files.committed()), sum(map(int, times)) / ticks))

    def cpu_s_a_generation(self) -> tuple[float, float]:
        """In the second tenth, and in the last."""
        tenth = len(self.spent) // 10
        spans = self.spent[tenth : 2 * tenth], self.spent[-tenth:]
        early, late = ((span[-1][1] - span[0][1]) / (span[-1][0] - span[0][0]) for span in spans)
        return round(early, 4), round(late, 4)


@pytest.fixture
def night(
    engine: PrivateEngine, prefect_api: str, tmp_path: Path, provider: Provider, toy: Path
) -> Iterator[Callable[[], Night]]:
    spent = Night(tmp_path / "history", {"PREFECT_API_URL": prefect_api, "OPENAI_API_KEY": "test"})
    model = ["--model", "openai/test", "--api-base", provider.api_base]

    def begin() -> Night:
        spent.begin(str(toy), *model, "--seed", "1", "--set", "sampling.batch=1")
        return spent

    yield begin
    if not spent.is_over():
        spent.kill()


@pytest.mark.timeout(3600)
def test_a_long_run(
    night: Callable[[], Night], provider: Provider, engine: PrivateEngine, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shop = Shop(seed=1)
    provider.script = shop
    spent = night()
    killed = befall(spent, Accidents(spent, engine, seed=1), until=GENERATIONS * 2 // 5)
    spent.kill()
    killed.append(time.monotonic())
    spent.resume("--generations", str(GENERATIONS + 1 - len(spent.files.committed())))
    with Meter(spent) as meter:
        wait_until(lambda: len(spent.files.committed()) > GENERATIONS, patience_s=3000)
    spent.end()
    database = Database(tmp_path / "history")
    figures = {
        **paid(database, spent, shop, killed),
        "requests": len(provider.requests),
        "faults": shop.faults,
        "kills": len(killed),
        "seconds a generation": steady(seconds(database)),
        "CPU seconds a generation": meter.cpu_s_a_generation(),
        "MiB": steady(meter.mib),
    }
    with capsys.disabled():
        print(json.dumps(figures))  # noqa: T201  the figures are what a soak is for
    assert figures["twice"] == figures["lost"] == 0
    assert figures["in flight at a kill"] <= len(killed) * 16
    for name in ("CPU seconds a generation", "MiB"):  # the clock also tells what else the machine has to do
        before, after = figures[name]
        assert after <= before * 1.25, name
    best = [row["best_score"] for row in database.rows("FROM generations WHERE state = 'committed' ORDER BY place")]
    assert all(earlier <= later for earlier, later in pairwise(best))
    assert database.rows("FROM programs WHERE outcome = 'sandbox_error'") == []
    assert engine.containers() == []
    assert spent.left() == []


def befall(night: Night, accidents: Accidents, until: int) -> list[float]:
    """Kills of containers and of the night, spread over the generations so far; when the night was killed."""
    names, killed = accidents.shuffled(container=KILLS, night=KILLS), []
    for turn, name in enumerate(names, start=1):
        wait_until(lambda turn=turn: len(night.files.committed()) > turn * until // len(names), patience_s=600)
        moment = time.monotonic()
        accidents.befall(name)
        killed += [moment] * (name == "night")
    return killed


def paid(database: Database, night: Night, shop: Shop, killed: list[float]) -> dict[str, int]:
    """What became of the answers that the provider gave: in the history, kept for the next night, in flight, lost."""
    texts = [row["completion"] for row in database.rows("SELECT completion FROM programs WHERE generation > 0")]
    kept = [path.read_text() for path in (night.files.directory / "paid").glob("*.jsonl")]
    marks = [mark for text in (*texts, *kept) for mark in re.findall(r"answer-\d+-\d+", text)]
    missing = shop.sold.keys() - set(marks)
    in_flight = {m for m in missing if any(-IN_FLIGHT_S < shop.sold[m] - kill < 3 * IN_FLIGHT_S for kill in killed)}
    return {
        "paid": len(shop.sold),
        "in the history": len(texts),
        "twice": len(marks) - len(set(marks)),
        "in flight at a kill": len(in_flight),
        "lost": len(missing - in_flight),
    }


def seconds(database: Database) -> list[float]:
    """From the end of each generation to the end of the next, in one night."""
    rows = database.rows(
        "SELECT epoch(ended_at) - lag(epoch(ended_at)) OVER (PARTITION BY night ORDER BY place) AS s "
        "FROM generations WHERE state = 'committed' AND generation > 0 ORDER BY place"
    )
    return [row["s"] for row in rows if row["s"] is not None]


def steady(values: list[float]) -> tuple[float, float]:
    """Medians of the second tenth and of the last."""
    tenth = len(values) // 10
    return round(median(values[tenth : 2 * tenth]), 3), round(median(values[-tenth:]), 3)
