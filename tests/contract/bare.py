"""Run the runner without a container, as a plain process of this machine, for tests that need no engine.

`BareBackend` is registered as a package of the user's own would be: `bare.dist-info` beside this file names it.
"""

from __future__ import annotations

import os
import platform
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from schemas.dependencies import Dependencies
from schemas.errors import SandboxUnavailable, SpecificationError
from schemas.files import File
from tasks.evaluate import delivery
from tasks.evaluate.sandbox import Death, RunnerConfig


class BareRunner:
    """`Channel` to a runner outside a container. Candidates keep this process's user, so it is for harmless ones
    only."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *delivery.arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **delivery.ENVIRONMENT},
            bufsize=0,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin.fileno(), self.process.stdout.fileno()

    def send(self, data: bytes, *, timeout_s: float) -> None:
        view = memoryview(data)
        while view:
            if not select.select([], [self._stdin], [], timeout_s)[1]:
                raise TimeoutError
            view = view[os.write(self._stdin, view[: select.PIPE_BUF]) :]

    def receive(self, *, timeout_s: float) -> bytes:
        if not select.select([self._stdout], [], [], timeout_s)[0]:
            raise TimeoutError
        return os.read(self._stdout, 65536)

    def death(self, *, since_s: float) -> Death:
        return Death(f"the runner exited with code {self.process.wait(timeout=10)}")

    def close(self) -> None:
        # Another thread may be reading, so the pipes are only closed with this object.
        self.process.kill()
        self.process.wait(timeout=10)


class BareBackend:
    """`SandboxBackend` of plain processes; it has one image, this Python, and adds nothing to it."""

    own_users = False

    def __init__(self, *, runners: int) -> None:
        self._started: list[BareRunner] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def describe(self) -> str:
        return f"plain processes, Python {platform.python_version()}, {os.cpu_count()} cores"

    def image_id(self, image: str) -> str:
        return f"python-{platform.python_version()}"

    def require(self, image: str, runtime: str | None) -> None:
        if runtime is not None:
            raise SandboxUnavailable(f"plain processes have no runtime {runtime!r}", remedy="Leave out --runtime.")

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        if dependencies.packages or files:
            raise SpecificationError("plain processes get no packages and no files", remedy="Use docker.")
        return image

    def remove_leftovers(self) -> int:
        return 0

    def start(self, config: RunnerConfig) -> BareRunner:
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed")
            runner = BareRunner()
            self._started.append(runner)
        return runner

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        for runner in self._started:
            runner.close()


create = BareBackend
