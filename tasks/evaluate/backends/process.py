"""The backend `process`: runners that are plain processes of this machine, to try things out without an engine.

It is for candidates that you would run yourself. They have limits, and the runner's system-call filter, which refuses
sockets. Where bubblewrap (`bwrap`) is installed and the kernel lets it, they also see no process and no file of yours,
but Python's, its packages' and the problem's. It never falls back to it by itself: only the user can name it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from weakref import WeakSet

from packaging.utils import canonicalize_name

from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable, SpecificationError
from overnight.schemas.files import File, require_distinct
from overnight.schemas.generation import BUBBLEWRAP, SANDBOX_WARNINGS, UNCONFINED
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.packages import Interpreter
from overnight.tasks.evaluate.runner.command import SCRATCH_VARIABLE
from overnight.tasks.evaluate.runner.program import FILES_VARIABLE, IMAGE_FILES
from overnight.tasks.evaluate.sandbox import Death, RunnerConfig

_END_S = 10.0
"""Seconds that a runner has to end after its channel was closed, before it is killed."""

_PROBE_S = 20.0

_SYSTEM_PLACES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf")
"""Places that programs and shared libraries need; the rest of `/etc` is not seen."""

_NO_SCRATCH = "/proc/none"
"""Scratch directory that a runner without one is told of: its default, which it empties, is this machine's `/tmp`."""

_CONFINED_SCRATCH = "/scratch"

_FILES_MARK = "problem-files:"
_HASH = re.compile("[0-9a-f]{64}")


class ProcessBackend:
    """A `SandboxBackend`: processes of this machine.

    Their only image is this Python, with what is installed beside Overnight. The name of an image with a problem's
    files ends with their hash, as its id does; other names are not looked at.
    """

    own_users = False

    def __init__(self, *, runners: int) -> None:  # noqa: ARG002  (as all backends)
        self._started = WeakSet[ProcessRunner]()
        self._is_closed = False
        self._lock = threading.Lock()

    def describe(self) -> str:
        _require_linux()
        return f"plain processes ({_how()}), Python {platform.python_version()}, {os.cpu_count()} cores"

    def image_id(self, image: str) -> str:
        """Return the id, which begins with how candidates are confined, for those who read the run."""
        own = f"{_how()}, Python {platform.python_version()}"
        if image.partition(",")[0] in SANDBOX_WARNINGS and not f"{image},".startswith(f"{own},"):
            raise SandboxUnavailable(
                f"expected processes as on the head ({image}), got {own}", remedy="Install here what the head has."
            )
        files = _files_of(image)
        return f"{own}, {_FILES_MARK}{files.name}" if files else own

    def require(self, image: str, runtime: str | None) -> None:
        _require_linux()
        _files_of(image)
        if runtime is not None:
            raise SandboxUnavailable(f"plain processes have no runtime {runtime!r}", remedy="Leave out --runtime.")

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        """Check packages and keep files; it tells how little candidates are confined, before any is run."""
        note(f"warning: {SANDBOX_WARNINGS[_how()]}")
        here = _this_python(with_packages=bool(dependencies.packages))
        here.require(dependencies.python)
        if not here.has(dependencies.packages):
            raise SpecificationError(
                f"the problem requires {', '.join(dependencies.packages)}, which plain processes have only where it is "
                f"installed for {sys.executable}",
                remedy="Install it there, or use a Docker engine, for which packages are fetched: "
                "--set sandbox.backend=docker",
            )
        return f"{_FILES_MARK}{_kept_files(files).name}" if files else image

    def remove_leftovers(self) -> int:
        """Return 0: runners end with the process that started them."""
        return 0

    def start(self, config: RunnerConfig) -> ProcessRunner:
        _require_linux()
        with self._lock:
            if self._is_closed:
                raise SandboxUnavailable("the sandbox was closed", remedy="`overnight resume` goes on.")
            try:
                runner = ProcessRunner(config)
            except OSError as error:
                raise SandboxUnavailable(f"a process cannot be started: {error}", remedy="overnight doctor") from error
            self._started.add(runner)
        return runner

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            started = list(self._started)
        for runner in started:
            runner.end()


class ProcessRunner:
    """`Channel` to a runner that is a process.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(self, config: RunnerConfig) -> None:
        self._scratch = tempfile.mkdtemp(prefix="overnight-scratch-") if config.scratch_mib else ""
        self._socket, its_end = socket.socketpair()
        with its_end:
            self.process = subprocess.Popen(
                [*confinement(config), sys.executable, *delivery.arguments()],
                stdin=its_end.fileno(),
                stdout=its_end.fileno(),
                stderr=subprocess.PIPE,
                env=self._environment(config),
                cwd="/",
                start_new_session=True,  # Ctrl-C reaches only the night
            )

    def _environment(self, config: RunnerConfig) -> dict[str, str]:
        """Return the environment, which holds nothing of this process's but where programs are."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        scratch = _CONFINED_SCRATCH if bubblewrap() else self._scratch
        places = {SCRATCH_VARIABLE: _NO_SCRATCH}
        if config.scratch_mib:
            places = {SCRATCH_VARIABLE: scratch, "TMPDIR": scratch}
        if (files := _files_of(config.image)) and not bubblewrap():
            places[FILES_VARIABLE] = str(files)
        return {**delivery.ENVIRONMENT, "PATH": path, **places}

    def send(self, data: bytes, *, timeout_s: float) -> None:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(data)

    def receive(self, *, timeout_s: float) -> bytes:
        self._socket.settimeout(max(0.01, timeout_s))
        return self._socket.recv(65536)

    def death(self, *, since_s: float) -> Death:  # noqa: ARG002  (the reason is that of the process)
        assert self.process.stderr is not None
        code, said = self.process.returncode, b""
        try:
            code = self.process.wait(_END_S)
            said = self.process.stderr.read()
        except subprocess.TimeoutExpired:
            return Death("the runner stopped answering")
        except ValueError:  # another thread has closed the channel
            pass
        return Death(f"the runner ended with exit code {code}: {said.decode(errors='replace').strip()}".rstrip(": "))

    def close(self) -> None:
        self.end()
        self._socket.close()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self) -> None:
        """End the runner, which kills what it started once its channel ends; the channel can still be read."""
        # Another thread may be reading; it sees the end of the stream.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _how() -> str:
    return BUBBLEWRAP if bubblewrap() else UNCONFINED


def _require_linux() -> None:
    if sys.platform != "linux":
        raise SandboxUnavailable(
            f"the sandbox backend `process` needs Linux, got {sys.platform}",
            remedy="Use a Docker engine: --set sandbox.backend=docker",
        )


def confinement(config: RunnerConfig) -> list[str]:
    """Return the command, up to the runner's own, that keeps it from the network and the user's files; or nothing."""
    if not bubblewrap():
        return []
    files = _files_of(config.image)
    return [
        *bubblewrap(),
        *(["--ro-bind", str(files), IMAGE_FILES] if files else []),
        *(["--size", str(config.scratch_mib * 2**20), "--tmpfs", _CONFINED_SCRATCH] if config.scratch_mib else []),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--"),
    ]


@cache
def bubblewrap() -> tuple[str, ...]:
    """Return the beginning of bubblewrap's command line, if it is installed and the kernel lets it run Python."""
    program = shutil.which("bwrap")
    if program is None:
        return ()
    places = dict.fromkeys([*_SYSTEM_PLACES, sys.base_prefix, sys.prefix])
    # As process 1 of its own namespace, the runner ends all other processes with itself.
    command = [program, "--unshare-all", "--as-pid-1", "--hostname", "sandbox", "--proc", "/proc", "--dev", "/dev"]
    command += [part for place in places for part in ("--ro-bind-try", place, place)]
    try:
        subprocess.run([*command, "--", sys.executable, "-c", ""], check=True, capture_output=True, timeout=_PROBE_S)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(command)


def _this_python(*, with_packages: bool) -> Interpreter:
    """Return this Python, and the packages that it imports, if they are asked for."""
    packages = dict(_packages()) if with_packages else {}
    return Interpreter(sys.executable, platform.python_version(), platform.machine(), "", packages)


@cache
def _packages() -> tuple[tuple[str, str], ...]:
    """Return names and versions of this Python's packages; to read their metadata takes a quarter of a second."""
    found = (one.metadata for one in distributions())
    return tuple({str(canonicalize_name(one["Name"])): one["Version"] for one in found if one["Name"]}.items())


def _kept_files(files: Sequence[File]) -> Path:
    """Write a problem's files into a folder of their own, read-only, unless they are there; return the folder."""
    require_distinct(files)
    content = json.dumps([f"{file.hash} {file.path}" for file in files])
    folder = _cache_folder() / hashlib.sha256(content.encode()).hexdigest()
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            for file in files:
                path = Path(made, "files", file.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
                path.chmod(0o555)
            try:
                Path(made, "files").rename(folder)
            except OSError:
                if not folder.exists():  # another process or thread was faster
                    raise
    except OSError as error:
        raise EnvironmentFault(
            f"cannot keep the problem's files in {folder.parent}: {error.strerror}",
            remedy="Name a folder that you can write to: export XDG_CACHE_HOME=DIR",
        ) from error
    return folder


def _files_of(image: str) -> Path | None:
    """Return the folder of a problem's files, by the name or id of their image; `None` if it is this Python alone."""
    _, mark, name = image.rpartition(_FILES_MARK)
    if not mark:
        return None
    folder = _cache_folder() / name
    if not _HASH.fullmatch(name) or not folder.is_dir():
        raise SandboxUnavailable(f"the problem's files are not here: {folder}", remedy="Start the command again.")
    return folder


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute() / "overnight" / "problem-files"


create = ProcessBackend
