"""A night in a process of its own, and accidents that tests cause: the night, a container or the engine is killed."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import docker
import docker.errors

from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from tests.command_server import RunningCommand, start_command
from tests.engine import PrivateEngine

_TIMEOUT_S = 120


def wait_until(
    condition: Callable[[], bool],
    message: Callable[[], str] = lambda: "the condition was not met in time",
    *,
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Wait until a condition is met; fail with a message if it is not met in time.

    To look again takes a fifth of the time at most: what is waited for needs the processor, too.
    """
    began = time.monotonic()
    deadline = began + timeout_s
    while not condition():
        looked = time.monotonic()
        assert looked < deadline, message()
        time.sleep(max(0.02, 4 * (looked - began)))
        began = time.monotonic()


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Run a function in another thread while the block lasts."""
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def copy_as_if_killed(history: Path, target: Path) -> None:
    """Copy a history that a night writes meanwhile, as it was at one moment."""
    while True:
        before = _state(history)
        shutil.rmtree(target, ignore_errors=True)
        with suppress(OSError):  # a file vanished meanwhile
            shutil.copytree(history / "runs", target / "runs", ignore=shutil.ignore_patterns(".writing"))
            if _state(history) == before:
                return


def _state(history: Path) -> list[tuple[str, int, int]]:
    found = []
    for path in (history / "runs").rglob("*"):
        with suppress(FileNotFoundError):
            facts = path.lstat()
            found.append((str(path), facts.st_size, facts.st_mtime_ns))
    return sorted(found)


class NightProcess:
    """One run of the search and its nights, each an `overnight` process that may be killed.

    Args:
        history: Folder of the history.
        environment: Environment variables of the processes, in addition to those of this process.

    Attributes:
        kills: Number of processes that were killed.
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
        self._process: RunningCommand | None = None

    @property
    def files(self) -> RunFiles:
        """The run's files on the disk of its machine, also where they are a copy of those on object storage."""
        return files_of(LocalBackend(self._history), self.run_id)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text()

    def start(self, *arguments: str) -> None:
        """Start `overnight run`, and wait until it has created a run."""
        self._start("run", *arguments)

    def resume(self, *arguments: str) -> None:
        """Start `overnight resume` on the run, and wait until it has opened it."""
        self._start("resume", self.run_id, *arguments)

    def _start(self, *arguments: str) -> None:
        with self._log.open("wb") as log, Path(os.devnull).open() as nothing:
            streams = (nothing.fileno(), log.fileno(), log.fileno())
            self._process = start_command(arguments, self._environment, streams)
        process = self._process
        wait_until(lambda: "seed" in self.output or process.poll() is not None, lambda: self.output)
        match = re.search(r"^run (\S+), seed", self.output, re.MULTILINE)
        assert match, self.output
        self.run_id = match[1]

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        assert self._process is not None
        assert self._process.poll() is None, f"the night ended by itself: {self.output}"
        self._process.kill()
        self._process.wait(_TIMEOUT_S)
        self.kills += 1

    def is_over(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def wait_for_success(self) -> None:
        """Wait until the process ends; require that its exit code is 0."""
        assert self.wait_for_exit(_TIMEOUT_S) == 0, self.output

    def wait_for_exit(self, timeout_s: float) -> int:
        """Wait until the process ends; return its exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill_if_running(self) -> None:
        """Kill the process unless it has ended; this does not count as a kill."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(_TIMEOUT_S)

    def wait_for_generations(self, count: int = 1) -> None:
        """Wait until the night has committed a number of further generations."""
        before = len(self.files.committed())
        wait_until(
            lambda: self.is_over() or len(self.files.committed()) >= before + count,
            lambda: f"no generation after {before}: {self.output}",
        )
        assert not self.is_over(), f"the night ended by itself: {self.output}"

    def leftovers(self) -> list[str]:
        """Return temporary and half-written files, and processes that have this history in their environment."""
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
    """Accidents of a night, at random times.

    Args:
        night: Night to disturb.
        engine: Engine that the night uses.
        seed: Seed of the random choices.
    """

    def __init__(self, night: NightProcess, engine: PrivateEngine, seed: int) -> None:
        self._night = night
        self._engine = engine
        self._random = random.Random(seed)

    def cause(self, which: str) -> None:
        """Cause one accident, and wait until the night has committed another generation."""
        time.sleep(self._random.uniform(0.1, 1.5))
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
        self._night.wait_for_generations()

    def shuffled(self, **times: int) -> list[str]:
        """Return names of accidents, each as often as given, in random order."""
        names = [name.replace("_", " ") for name, count in times.items() for _ in range(count)]
        self._random.shuffle(names)
        return names

    def _kill_a_container(self) -> None:
        """Kill a random container; try another one if the night has just removed it."""
        with closing(docker.DockerClient(self._engine.host)) as client:
            while True:
                containers = client.containers.list(ignore_removed=True)
                try:
                    self._random.choice(containers).kill()
                except (docker.errors.APIError, IndexError):
                    time.sleep(0.05)
                else:
                    return

    def _lose_engine(self, how: signal.Signals) -> None:
        self._engine.end(how)
        time.sleep(self._random.uniform(0.0, 2.0))
        self._engine.start()
