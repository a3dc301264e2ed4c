"""A sandbox backend: containers through the command line of Docker, nerdctl or podman.

It is for programs that you trust: `tasks/evaluate/confinement.py` says what a container needs besides.
"""

from __future__ import annotations

import os
import select
import subprocess
import uuid
from collections.abc import Callable, Sequence

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable, SpecificationError
from overnight.schemas.files import File
from overnight.tasks.evaluate import confinement, delivery
from overnight.tasks.evaluate.sandbox import Death, RunnerConfig

ENGINE = "docker"
CONFINEMENT = (
    *("--network=none", "--ipc=none", "--read-only", "--user=0:0", "--workdir=/"),
    *("--cpus=1", "--pids-limit=64", "--ulimit=nofile=256"),
    *("--cap-drop=ALL", "--cap-add=SETUID", "--cap-add=SETGID", "--cap-add=KILL", "--security-opt=no-new-privileges"),
)


def call(*arguments: str) -> str:
    """Run a command of the engine and return what it prints."""
    try:
        return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        raise SandboxUnavailable(f"{ENGINE} {arguments[0]}: {reason}", remedy=f"Look with `{ENGINE} info`.") from error


class Runner:
    """`Channel` to the runner in one container."""

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._name = name
        self._process = subprocess.Popen([ENGINE, "run", *arguments], stdin=pipe, stdout=pipe, bufsize=0)
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()

    def send(self, data: bytes, *, timeout_s: float) -> None:
        while data:
            if not select.select([], [self._stdin], [], timeout_s)[1]:
                raise TimeoutError
            data = data[os.write(self._stdin, data[: select.PIPE_BUF]) :]

    def receive(self, *, timeout_s: float) -> bytes:
        if not select.select([self._stdout], [], [], timeout_s)[0]:
            raise TimeoutError
        return os.read(self._stdout, 65536)

    def death(self, *, since_s: float) -> Death:
        return Death(f"the container ended with exit code {self._process.wait(timeout=30)}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait(timeout=30)
        subprocess.run([ENGINE, "rm", "--force", self._name], capture_output=True, check=False)


class CommandLineBackend:
    """Containers of the engine behind a command line."""

    own_users = True

    def __init__(self, *, runners: int) -> None:
        self._label = f"overnight.starter={uuid.uuid4().hex}"
        self._is_closed = False

    def describe(self) -> str:
        return f"{ENGINE} {call('version', '--format', '{{.Server.Version}}')}"

    def image_id(self, image: str) -> str:
        return call("image", "inspect", "--format", "{{.Id}}", image)

    def require(self, image: str, runtime: str | None) -> None:
        self.image_id(image)
        if runtime is not None:
            raise SandboxUnavailable(f"{runtime}: this backend has one runtime", remedy="Leave out --runtime.")

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        if dependencies.packages or files:
            raise SpecificationError("this backend adds no packages and files", remedy="Put them into an image.")
        return image

    def remove_leftovers(self) -> int:
        listed = call("ps", "--all", "--filter=label=overnight.owner", '--format={{.ID}} {{.Label "overnight.owner"}}')
        pairs = [line.split(" ", 1) for line in listed.splitlines()]
        dead = [container for container, owner in pairs if confinement.is_dead(owner)]
        return len([call("rm", "--force", container) for container in dead])

    def start(self, config: RunnerConfig) -> Runner:
        if self._is_closed:
            raise SandboxUnavailable("the sandbox was closed")
        name, memory = f"overnight-{uuid.uuid4().hex}", f"{config.memory_mib + 64}m"
        labels = [f"{key}={value}" for key, value in config.labels.items()]
        labels += [self._label, f"overnight.owner={confinement.owner()}"]
        options = ["--interactive", "--rm", f"--name={name}", f"--memory={memory}", f"--memory-swap={memory}"]
        options += [f"--label={label}" for label in labels]
        options += [f"--env={key}={value}" for key, value in delivery.ENVIRONMENT.items()]
        options += [f"--tmpfs=/tmp:size={config.scratch_mib}m,mode=1777"] if config.scratch_mib else []
        command = ["--entrypoint=python3", config.image, *delivery.arguments()]
        return Runner(name, [*options, *CONFINEMENT, *command])

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            for container in call("ps", "--all", "--quiet", f"--filter=label={self._label}").split():
                call("rm", "--force", container)


create = CommandLineBackend
