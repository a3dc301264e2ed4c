"""A night on a cluster survives everything: machines, cables, engines, scheduler and head are lost at random."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from overnight.flows.cluster.certificates import create_certificates
from overnight.flows.cluster.choice import VARIABLE
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider
from tests.accidents import NightProcess, wait_until
from tests.conftest import SPECIFICATIONS
from tests.engine import PrivateEngine, private_engine
from tests.flows.night.test_kill import (
    assert_best_never_falls,
    assert_one_verdict_each,
    assert_verdicts_are_reproducible,
)
from tests.flows.night.test_soak import RecordingScript, completions
from tests.machines import Machines, machines
from tests.namespaces import Network, network

pytestmark = [pytest.mark.docker, pytest.mark.prefect, pytest.mark.slow]

GENERATIONS = int(os.environ.get("OVERNIGHT_SOAK_GENERATIONS", "50"))
SEED = int(os.environ.get("OVERNIGHT_SOAK_SEED", "1"))
SLOTS = 2
PROMPTS, SAMPLES = 10, 4

BRIEF_S, LONG_S = 3.0, 40.0
"""Seconds without a machine that it may not even notice, and after which the cluster has given it up."""

NOTICED_S = 30.0
"""Seconds after which Dask has noticed that a head was killed, and machines have ended its jobs."""


@dataclass
class Place:
    """All that a night on a cluster needs, each with what can happen to it.

    Attributes:
        cluster: The scheduler and the workers.
        engines: The engine of each machine, by name.
        night: The head.
        net: Namespaces of the machines, if they have any.
        chance: Random choices.
        killed: Times at which the head was killed.
    """

    cluster: Machines
    engines: Mapping[str, PrivateEngine]
    night: NightProcess
    net: Network | None
    chance: random.Random
    killed: list[float] = field(default_factory=list)

    def join(self, name: str) -> None:
        inside = self.net.inside(name) if self.net else []
        self.cluster.join(name, SLOTS, inside=inside, DOCKER_HOST=self.engines[name].host)

    def cause(self, accident: str) -> None:
        """Cause an accident to a random machine, if it is one of a machine, and repair it."""
        name = self.chance.choice(sorted(self.engines))
        time.sleep(self.chance.uniform(0.0, 2.0))
        match accident.split():
            case ["kill"]:
                self.cluster.kill(name)
                time.sleep(self.chance.uniform(0.0, 3.0))
                self.join(name)
            case ["freeze", how]:
                self.cluster.kill(name, signal.SIGSTOP)
                self._wait(how)
                self.cluster.kill(name, signal.SIGCONT)
            case ["cut", how]:
                assert self.net is not None
                self.net.cut_off(name)
                self._wait(how)
                self.net.plug_in(name)
            case ["engine"]:
                self.engines[name].end(signal.SIGKILL)
                time.sleep(self.chance.uniform(0.0, 3.0))
                self.engines[name].start()
            case ["scheduler"]:
                self.cluster.restart_scheduler()
            case ["head"]:
                self.killed.append(time.monotonic())
                self.night.kill()
                time.sleep(self.chance.uniform(0.0, 3.0))
                self.night.resume()
            case _:
                raise ValueError(accident)

    def _wait(self, how: str) -> None:
        time.sleep(self.chance.uniform(0.5, BRIEF_S) if how == "briefly" else self.chance.uniform(0.8 * LONG_S, LONG_S))

    def shuffled(self, accidents: Mapping[str, int]) -> list[str]:
        """Return the names of accidents, each as often as given, in random order."""
        names = [name for name, count in accidents.items() for _ in range(count)]
        self.chance.shuffle(names)
        return names

    def containers(self) -> dict[str, list[str]]:
        """Return the containers that are left on each engine that has any."""
        return {name: left for name, engine in self.engines.items() if (left := engine.containers())}


@contextlib.contextmanager
def place(
    names: list[str], *, image: str, folder: Path, head: PrivateEngine, environment: Mapping[str, str], in_space: bool
) -> Iterator[Place]:
    """A cluster with an engine for each machine, and a night that was not started yet."""
    with contextlib.ExitStack() as stack:
        net = stack.enter_context(network()) if in_space else None
        engines = {name: stack.enter_context(private_engine(image)) for name in names}
        (folder / "cluster").mkdir()
        listen = f"tls://{net.address}:0" if net else "tls://127.0.0.1:0"
        cluster = stack.enter_context(machines(folder / "cluster", listen))
        night = NightProcess(folder / "history", {**environment, VARIABLE: cluster.address, "DOCKER_HOST": head.host})
        stack.callback(night.kill_if_running)
        made = Place(cluster, engines, night, net, random.Random(SEED))
        for name in names:
            if net:
                net.connect(name)
            made.join(name)
        yield made


@pytest.fixture
def environment(
    prefect_api: str, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Environment variables of the head; the certificates are those of this process, too."""
    certificates = tmp_path / "certificates"
    create_certificates(certificates)
    monkeypatch.setenv("OVERNIGHT_CLUSTER_CERTIFICATES", str(certificates))
    return {"PREFECT_API_URL": prefect_api, "OPENAI_API_KEY": "test"}


Show = Callable[[object], None]


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Show:
    """Function that prints a figure, which is the result of a soak test."""

    def show(figure: object) -> None:
        with capsys.disabled():
            print(json.dumps(figure), flush=True)  # noqa: T201

    return show


def start(night: NightProcess, provider: Provider, seconds: float, folder: Path) -> None:
    """Begin a night in which each score of the toy takes some seconds of sleep; a program has two."""
    sleeping = folder / "toy.py"
    toy = (SPECIFICATIONS / "toy.py").read_text()
    sleeping.write_text(toy.replace("return -abs(", f"import time\n\n    time.sleep({seconds})\n    return -abs("))
    settings = {
        "search.prompts": PROMPTS,
        "search.samples": SAMPLES,
        "sampling.concurrency": 2 * PROMPTS * SAMPLES,
        "sandbox.confirm": "best",
        "limits.wall_s": 20,
    }
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    model = ("--model", "openai/test", "--api-base", provider.api_base)
    night.start(str(sleeping), *model, "--seed", "1", *sets)


def run_with_accidents(there: Place, accidents: list[str], generations: int, show: Show) -> None:
    """Cause accidents, spread evenly over the generations; end the night once all have happened."""
    began = time.monotonic()
    for turn, accident in enumerate(accidents):
        due = 1 + turn * generations // len(accidents)
        wait_until(lambda due=due: done(there) >= due, lambda: there.night.output, timeout_s=600)
        show(f"{time.monotonic() - began:.0f} s, generation {done(there)}: {accident}")
        there.cause(accident)
    wait_until(lambda: done(there) >= generations, lambda: there.night.output, timeout_s=600)
    show(f"{time.monotonic() - began:.0f} s, generation {done(there)}: the end")
    os.kill(there.night.pid, signal.SIGINT)
    assert there.night.wait_for_exit(120) == 130, there.night.output


def done(there: Place) -> int:
    """Return the number of generations that are committed, without the start program's."""
    assert not there.night.is_over(), there.night.output
    return len(there.night.files.committed()) - 1


def assert_all_is_well(there: Place, script: RecordingScript, show: Show) -> None:
    database = Database(there.night.files.directory.parents[1])
    counts = Counter(row["outcome"] for row in database.rows("SELECT outcome FROM programs WHERE generation > 0"))
    paid = completions(database, there.night, script, there.killed)
    show({**paid, **counts})
    show(database.rows("SELECT machine, count(*) AS programs FROM programs WHERE wall_s > 0 GROUP BY ALL ORDER BY ALL"))
    assert_one_verdict_each(database, PROMPTS * SAMPLES)
    assert_best_never_falls(database)
    assert_best_was_confirmed(database)
    assert_verdicts_are_reproducible(database, there.night, limit=50)
    show(f"machines lost a program {database.rows('SELECT sum(faults) AS n FROM machines')[0]['n']} times")
    assert counts["timed_out"] == counts["out_of_memory"] == 0, "no program of this problem does that"
    assert paid["twice"] == paid["lost"] == 0
    wait_until(lambda: not there.containers(), lambda: str(there.containers()), timeout_s=NOTICED_S)
    assert there.night.leftovers() == []


def assert_best_was_confirmed(database: Database) -> None:
    """Require that each best score was confirmed, but for that of the start program."""
    rows = database.rows(
        "SELECT p.confirmed_score, g.best_score FROM programs AS p JOIN generations AS g USING (run_id) "
        "WHERE p.outcome = 'scored' AND p.generation > 0 AND p.score = g.best_score AND g.state = 'committed' "
        "AND p.score > (SELECT min(best_score) FROM generations)"
    )
    reached = {row["best_score"] for row in rows}
    assert reached, "something was found"
    assert {row["best_score"] for row in rows if row["confirmed_score"] == row["best_score"]} == reached


@pytest.mark.timeout(1800)
def test_two_thousand_candidates(
    engine: PrivateEngine,
    sandbox_image: str,
    environment: dict[str, str],
    provider: Provider,
    tmp_path: Path,
    show: Show,
):
    provider.script = script = RecordingScript(SEED)
    names = ["first", "second", "third"]
    with place(
        names, image=sandbox_image, folder=tmp_path, head=engine, environment=environment, in_space=True
    ) as there:
        start(there.night, provider, 0.2, tmp_path)
        each = {
            **{"kill": 4, "engine": 2, "scheduler": 1, "head": 2},
            **{"freeze briefly": 2, "freeze long": 1, "cut briefly": 2, "cut long": 2},
        }
        run_with_accidents(there, there.shuffled(each), GENERATIONS, show)
        assert_all_is_well(there, script, show)
        there.night.resume()
        wait_until(lambda: len(there.containers()) == len(names), timeout_s=60)
        there.night.kill()
        began = time.monotonic()
        wait_until(lambda: not there.containers(), lambda: str(there.containers()), timeout_s=NOTICED_S)
        show(f"containers of a killed head were gone after {time.monotonic() - began:.0f} s")
