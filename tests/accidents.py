"""A night in a process of its own, and what may befall it: kills of it, of its containers, of its engine."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import docker
import docker.errors

from tasks.history.files import RunFiles
from tests.engine import PrivateEngine

_PATIENCE_S = 120


def wait_until(
    condition: Callable[[], bool],
    said: Callable[[], str] = lambda: "it did not come to pass",
    *,
    patience_s: float = _PATIENCE_S,
) -> None:
    until = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < until, said()
        time.sleep(0.02)


class Night:
    """One run of the `overnight` command, and its nights, each in a process that may be killed.

    Args:
        history: Where the run is kept.
        environment: Of the processes, beside this one's.

    Attributes:
        kills: How many of the processes were killed.
    """

    def __init__(self, history: Path, environment: Mapping[str, str]) -> None:
        self.kills = 0
        self.run_id = ""
        self._history = history
        self._scratch = history.parent / "scratch"
        self._scratch.mkdir()
        self._environment = {
            **os.environ,
            "OVERNIGHT_HISTORY": str(history),
            "TMPDIR": str(self._scratch),
            **environment,
        }
        self._log = history.parent / "night.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> RunFiles:
        return RunFiles(self._history / "runs" / self.run_id)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        return self._log.read_text()

    def begin(self, *arguments: str) -> None:
        """`overnight run`, until it has a run."""
        self._spend("run", *arguments)

    def resume(self, *arguments: str) -> None:
        self._spend("resume", self.run_id, *arguments)

    def _spend(self, *arguments: str) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli.main", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = self._process
        wait_until(lambda: "seed" in self.said or process.poll() is not None, lambda: self.said)
        match = re.search(r"^run (\S+), seed", self.said, re.MULTILINE)
        assert match, self.said
        self.run_id = match[1]

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        assert self._process.poll() is None, f"the night ended by itself: {self.said}"
        self._process.kill()
        self._process.wait()
        self.kills += 1

    def is_over(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def end(self) -> None:
        """Waits until it ends as it should."""
        assert self._process is not None
        assert self._process.wait(_PATIENCE_S) == 0, self.said

    def ends(self, patience_s: float) -> int:
        """Waits until it ends, and gives its exit code."""
        assert self._process is not None
        return self._process.wait(patience_s)

    def end_by_force(self) -> None:
        """Ends what is left of it, in whatever state it is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def goes_on(self, generations: int = 1) -> None:
        """Waits until it has committed so many more generations."""
        there = len(self.files.committed())
        wait_until(
            lambda: self.is_over() or len(self.files.committed()) >= there + generations,
            lambda: f"no generation after {there}: {self.said}",
        )
        assert not self.is_over(), f"the night ended by itself: {self.said}"

    def left(self) -> list[str]:
        """Temporary files, half-written ones, and processes that have this history in their environment."""
        files = [str(path) for path in self._scratch.rglob("*")]
        files += [str(path) for path in self.files.directory.rglob("*") if ".writing" in path.parts and path.is_file()]
        return files + [f"process {pid}" for pid in self._processes()]

    def _processes(self) -> list[int]:
        wanted, found = f"OVERNIGHT_HISTORY={self._history}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


class Accidents:
    """What befalls a night, by chance and after it has got somewhere.

    Args:
        night: Whose.
        engine: That it uses.
        seed: Of the chances.
    """

    def __init__(self, night: Night, engine: PrivateEngine, seed: int) -> None:
        self._night = night
        self._engine = engine
        self._chance = random.Random(seed)

    def befall(self, which: str) -> None:
        """One accident; the night then gets somewhere again."""
        time.sleep(self._chance.uniform(0.1, 1.5))
        match which:
            case "container":
                self._kill_a_container()
            case "engine killed":
                self._lose_engine(signal.SIGKILL)
            case "engine ended":
                self._lose_engine(signal.SIGTERM)
            case "night":
                self._night.kill()
                self._night.resume()
            case "all at once":
                self._engine.end(signal.SIGKILL)
                self._night.kill()
                self._engine.start()
                self._night.resume()
            case _:
                raise ValueError(which)
        self._night.goes_on()

    def shuffled(self, **times: int) -> list[str]:
        """Names of accidents, each so many times, in an order of chance."""
        names = [name.replace("_", " ") for name, count in times.items() for _ in range(count)]
        self._chance.shuffle(names)
        return names

    def _kill_a_container(self) -> None:
        """As `docker kill` does; the night may have removed it just then, and has another."""
        with closing(docker.DockerClient(self._engine.host)) as client:
            while True:
                found = client.containers.list(ignore_removed=True)
                try:
                    self._chance.choice(found).kill()
                except (docker.errors.APIError, IndexError):
                    time.sleep(0.05)
                else:
                    return

    def _lose_engine(self, how: signal.Signals) -> None:
        self._engine.end(how)
        time.sleep(self._chance.uniform(0.0, 2.0))
        self._engine.start()
