"""A Docker engine of the tests' own, which may be killed: the one that others use is never touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import docker.errors
import pytest
import requests

_PATIENCE_S = 60


class PrivateEngine:
    """A dockerd with its own root, socket and containerd.

    Args:
        data: Where it keeps images and containers; a directory below its own by default.
    """

    def __init__(self, data: Path | None = None) -> None:
        # Not pytest's directory: a socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="overnight-engine-"))
        self.host = f"unix://{self.directory}/sock"
        self._data = data or self.directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def load(self, image: str) -> None:
        """Copies an image of the usual engine into it."""
        saved = self.directory / "image.tar"
        subprocess.run(["docker", "save", "-o", saved, image], check=True)
        subprocess.run(["docker", "-H", self.host, "load", "-qi", saved], check=True, stdout=subprocess.DEVNULL)
        saved.unlink()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        root = self.directory
        with (root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--config-file", "/dev/null", "--host", self.host, "--pidfile", root / "pid"),
                    *("--data-root", self._data, "--exec-root", root / "exec"),
                    *("--bridge=none", "--iptables=false", "--ip6tables=false"),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _PATIENCE_S
        while not self.answers():
            assert time.monotonic() < until, (root / "log").read_text()[-2000:]
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            with closing(docker.DockerClient(self.host, timeout=5)) as client:
                return client.ping()
        except (docker.errors.DockerException, requests.RequestException, OSError):
            return False

    def end(self, how: signal.Signals) -> None:
        """Ends it and waits until it has."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(_PATIENCE_S)

    def containers(self) -> list[str]:
        """Everything there is, running or not."""
        with closing(docker.DockerClient(self.host)) as client:
            return [str(found.id) for found in client.containers.list(all=True, ignore_removed=True)]

    def processes(self) -> list[str]:
        """Shims and what runs in them: command lines that name this engine's directory, without the engine itself."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "containerd-shim" in line and str(self.directory) in line:
                found.append(line)
        return found

    def remove(self) -> None:
        """Ends it in order, with whatever runs in it, and leaves nothing."""
        if not self.answers():
            self.start()
        self.end(signal.SIGTERM)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if (place := line.split()[1]).startswith(str(self.directory)):
                subprocess.run(["umount", "-l", place], check=False)
        shutil.rmtree(self.directory)


@contextmanager
def private_engine(image: str, data: Path | None = None) -> Iterator[PrivateEngine]:
    """One that runs and has the image, or the test is skipped where none can be started."""
    with started_engine(data) as engine:
        engine.load(image)
        yield engine


@contextmanager
def started_engine(data: Path | None = None) -> Iterator[PrivateEngine]:
    """One that runs, without any image, or the test is skipped where none can be started."""
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        pytest.skip("only root can start a Docker engine")
    engine = PrivateEngine(data)
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
