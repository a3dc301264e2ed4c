"""Run the runner without a container, as a plain process of this machine, for tests that need no engine."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from tasks.evaluate import delivery
from tasks.evaluate.sandbox import Death


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
            view = view[os.write(self._stdin, view) :]

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
