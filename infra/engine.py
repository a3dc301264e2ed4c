"""The Docker engine: the one that answers, else the distribution's, installed and started.

Run with the environment's Python: `.venv/bin/python infra/engine.py start` finds or starts one,
`infra/engine.py address` prints where it answers, `infra/engine.py stop` ends the one that was started here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import debian
import docker
import docker.errors
import requests
from docker.context import ContextAPI
from steps import Step, StopError, main, step, tail

if TYPE_CHECKING:
    from collections.abc import Iterator

SOCKET = Path("/var/run/docker.sock")
PODMAN = Path("/run/podman/podman.sock")
LOG = Path("/var/log/overnight-dockerd.log")
PID = Path("/run/overnight-dockerd.pid")
"""The engine serves the machine, not this folder: what is known of it stands where any clone finds it."""

PATIENCE = 60
"""Seconds within which an engine has to answer after its start."""

WAYS = [
    [],
    # Where the kernel has no iptables: a sandbox has no network anyway.
    ["--iptables=false", "--ip6tables=false", "--bridge=none"],
    # Where overlay cannot be mounted, as inside some containers: slower and larger, but it works anywhere.
    ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"],
]
"""What to start dockerd with, by turns, when there is no systemd to start it."""

MOUNT_CGROUPS = """
set -eu
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
if ! grep -q memory cgroup.controllers; then
  cd / && umount /sys/fs/cgroup
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  cd /sys/fs/cgroup
  for name in $(awk '$4 == 1 { print $1 }' /proc/cgroups); do
    mkdir "$name"
    mount -t cgroup -o "$name" cgroup "$name" || rmdir "$name"
  done
fi
"""
"""On a machine whose init mounted none, as small virtual machines' do: cgroups of today, else those of before."""


def set_up() -> None:
    with step("Docker engine") as this:
        host = find()
        if host is None:
            have_dockerd(this)
            host = start(this)
        with connect(host, 10) as client:
            this.outcome = f"{client.version()['Version']} answers at {host}"


# Finding one


def find() -> str | None:
    """The address of the first engine that answers; where the user named one, that one or none."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        if fault := unanswered(named):
            remedy = "start that engine, or: unset DOCKER_HOST; make setup"
            raise StopError(f"an engine at DOCKER_HOST={named}", fault, remedy)
        return named
    faults = {}
    for host in candidates():
        fault = unanswered(host)
        if not fault:
            return host
        faults[host] = fault
    for host, fault in faults.items():
        if "Permission denied" in fault:
            remedy = 'sudo usermod -aG docker "$USER", log in again, then: make setup'
            raise StopError(f"this user to be allowed to use the engine at {host}", "permission denied", remedy)
    return None


def candidates() -> Iterator[str]:
    """Where engines listen: the docker command's context, then the sockets of the usual products."""
    try:
        context = ContextAPI.get_current_context()
        if context is not None and context.Host:
            yield context.Host
    except (docker.errors.DockerException, OSError, ValueError):
        pass  # a damaged ~/.docker concerns the docker command only
    home = Path.home()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    sockets = [
        SOCKET,
        runtime / "docker.sock",  # rootless Docker
        home / ".docker/run/docker.sock",  # Docker Desktop
        home / ".docker/desktop/docker.sock",
        home / ".colima/default/docker.sock",
        home / ".config/colima/default/docker.sock",
        home / ".orbstack/run/docker.sock",
        home / ".rd/docker.sock",  # Rancher Desktop
        runtime / "podman/podman.sock",
        PODMAN,
        home / ".local/share/containers/podman/machine/podman.sock",
    ]
    yield from (f"unix://{socket}" for socket in sockets if exists(socket))


def exists(socket: Path) -> bool:
    try:
        return socket.is_socket()
    except PermissionError:
        return False


def unanswered(host: str) -> str:
    """Why the engine at this address does not answer; empty if it does."""
    try:
        with connect(host, 5) as client:
            client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        return str(error)
    return ""


@contextmanager
def connect(host: str, patience: int) -> Iterator[docker.DockerClient]:
    """A client of the engine at this address, with the TLS settings of DOCKER_* where those are set."""
    environment = {**os.environ, "DOCKER_HOST": host}
    client = docker.from_env(environment=environment, timeout=patience)
    try:
        yield client
    finally:
        client.close()


# Having one


def have_dockerd(this: Step) -> None:
    """Install the distribution's engine unless dockerd is here already."""
    if shutil.which("dockerd"):
        return
    if not debian.is_debian() or debian.as_root() is None:
        raise StopError("a Docker engine that answers", "none does, and this user may not install one here", by_hand())
    debian.install(this, "docker.io", "iptables")


def by_hand() -> str:
    """What a person does to have an engine, where set-up may not."""
    if sys.platform == "darwin":
        return "start Docker Desktop, or: brew install colima docker && colima start; then: make setup"
    if debian.is_debian():
        install = "sudo apt-get install docker.io iptables && sudo usermod -aG docker $USER"
        return f"{install}, log in again, start it where it does not run (sudo dockerd &); then: make setup"
    return "install and start Docker or podman with your system's packages, or set DOCKER_HOST; then: make setup"


def start(this: Step) -> str:
    """Start the engine that is installed; the address where it answers."""
    prefix = debian.as_root()
    if prefix is None:
        raise StopError("a Docker engine that answers", "dockerd is installed but does not run", by_hand())
    if Path("/run/systemd/system").is_dir():
        remedy = "journalctl --unit docker, then: make setup"
        this.run([*prefix, "systemctl", "enable", "--now", "docker"], remedy=remedy)
        return wait(None)
    if not any(Path("/sys/fs/cgroup").iterdir()):
        this.run([*prefix, "sh", "-c", MOUNT_CGROUPS], remedy=by_hand())
    *first, last = WAYS
    for way in first:
        try:
            return wait(launch(prefix, way))
        except StopError as stop:
            this.note(str(stop))
    return wait(launch(prefix, last))


def launch(prefix: list[str], way: list[str]) -> subprocess.Popen[bytes]:
    """Start dockerd in a session of its own, so that it outlives this script and its terminal."""
    shell = 'echo $$ >"$1" && log=$2 && shift 2 && exec "$@" >"$log" 2>&1'
    command = [*prefix, "sh", "-c", shell, "sh", str(PID), str(LOG), "dockerd", *way]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/")


def wait(process: subprocess.Popen[bytes] | None) -> str:
    """Wait until the engine just started answers; stop with what it said where it does not."""
    host = f"unix://{SOCKET}"
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if find() == host:
            return host
        if process is not None and process.poll() is not None:
            raise StopError("dockerd to start", f"it ended; {LOG} ends:\n{tail(LOG)}", f"read {LOG}, then: make setup")
        time.sleep(0.1)
    if process is None:
        raise StopError(f"the engine to answer within {PATIENCE} s", "it does not", "journalctl --unit docker")
    end_started()
    got = f"it does not; {LOG} ends:\n{tail(LOG)}"
    raise StopError(f"dockerd to answer within {PATIENCE} s", got, f"read {LOG}, then: make setup")


# Ending one


def stop() -> None:
    """End the engine that set-up started by hand; no other."""
    with step("Docker engine") as this:
        this.outcome = "stopped" if end_started() else "nothing to stop: none was started here; done"


def end_started() -> bool:
    """End the dockerd whose id was written down, if that process still is one; whether there was one."""
    try:
        pid = int(PID.read_text())
    except (OSError, ValueError):
        return False
    if not is_dockerd(pid):
        return False
    subprocess.run([*(debian.as_root() or []), "sh", "-c", 'kill "$1"', "sh", str(pid)], check=False)
    end = time.monotonic() + PATIENCE
    while is_dockerd(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return True


def is_dockerd(pid: int) -> bool:
    """Whether this process runs and is a dockerd: by now its id may be another's."""
    process = Path(f"/proc/{pid}")
    try:
        ended = not (process / "cmdline").read_bytes()  # of a process that nobody has waited for yet
        return (process / "comm").read_text().strip() == "dockerd" and not ended
    except OSError:
        return False


def address() -> None:
    """Print where the engine answers, for DOCKER_HOST."""
    host = find()
    if host is None:
        raise StopError("a Docker engine that answers", "none does", "make setup")
    sys.stdout.write(f"{host}\n")


if __name__ == "__main__":
    main({"start": set_up, "stop": stop, "address": address}[(sys.argv[1:] or ["start"])[0]])
