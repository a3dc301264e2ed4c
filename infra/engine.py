"""Find a Docker engine that answers, or install and start the distribution's.

Run with the environment's Python: `.venv/bin/python infra/engine.py start` finds or starts an engine,
`infra/engine.py address` prints its address, `infra/engine.py stop` stops the engine that set-up started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import debian
from steps import SetupError, Step, main, step, tail

from overnight.schemas.errors import SandboxUnavailable
from overnight.tasks.evaluate.debian_image import is_debian
from overnight.tasks.evaluate.engine import DEFAULT_SOCKET, addresses, connect_to

LOG = Path("/var/log/overnight-dockerd.log")
PID = Path("/run/overnight-dockerd.pid")
"""Files of the engine that set-up started: at fixed paths, since all clones on this machine share the engine."""

START_TIMEOUT_S = 60
"""Time within which an engine must answer after its start, seconds."""

DOCKERD_OPTIONS = [
    [],
    # For kernels without iptables: a sandbox has no network anyway.
    ["--iptables=false", "--ip6tables=false", "--bridge=none"],
    # For systems that cannot mount overlay, such as some containers: slower and larger, but it works everywhere.
    ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"],
]
"""Options of dockerd, tried in this order on systems without systemd."""

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
"""Mounts cgroups v2, else v1, on machines whose init mounts none, such as small virtual machines."""


def set_up() -> None:
    """Find an engine, or install and start one."""
    with step("Docker engine") as this:
        host = find()
        if host is None:
            ensure_dockerd(this)
            host = start(this)
        with closing(connect_to(host, 1, 10)) as client:
            this.outcome = f"{client.version()['Version']} answers at {host}"


# Finding an engine


def find() -> str | None:
    """Return the address of the first engine that answers; `None` if none does.

    Raises:
        SetupError: If the engine in DOCKER_HOST does not answer, or this user may not use one that is there.
    """
    faults = {}
    for host in addresses():
        try:
            connect_to(host, 1, 5).close()
            return host
        except SandboxUnavailable as fault:
            faults[host] = fault.message
    if named := os.environ.get("DOCKER_HOST"):
        remedy = "start that engine, or: unset DOCKER_HOST; make setup"
        raise SetupError(f"an engine at DOCKER_HOST={named}", faults[named], remedy)
    for host, fault in faults.items():
        if "Permission denied" in fault:
            remedy = 'sudo usermod -aG docker "$USER", log in again, then: make setup'
            raise SetupError(f"this user to be allowed to use the engine at {host}", "permission denied", remedy)
    return None


# Installing and starting an engine


def ensure_dockerd(this: Step) -> None:
    """Install the distribution's engine unless dockerd is installed already."""
    if shutil.which("dockerd"):
        return
    if not is_debian() or debian.root_prefix() is None:
        got = "none does, and this user may not install one here"
        raise SetupError("a Docker engine that answers", got, manual_remedy())
    debian.install(this, "docker.io", "iptables")


def manual_remedy() -> str:
    """Return the instructions for getting an engine if set-up may not install or start it."""
    if sys.platform == "darwin":
        return "start Docker Desktop, or: brew install colima docker && colima start; then: make setup"
    if is_debian():
        install = "sudo apt-get install docker.io iptables && sudo usermod -aG docker $USER"
        return f"{install}, log in again, start it if it does not run (sudo dockerd &); then: make setup"
    return "install and start Docker or podman with your system's packages, or set DOCKER_HOST; then: make setup"


def start(this: Step) -> str:
    """Start the installed engine and return its address.

    Raises:
        SetupError: If this user may not start it, or it does not answer.
    """
    prefix = debian.root_prefix()
    if prefix is None:
        raise SetupError("a Docker engine that answers", "dockerd is installed but does not run", manual_remedy())
    if Path("/run/systemd/system").is_dir():
        remedy = "journalctl --unit docker, then: make setup"
        this.run([*prefix, "systemctl", "enable", "--now", "docker"], remedy=remedy)
        return wait(None)
    if not any(Path("/sys/fs/cgroup").iterdir()):
        this.run([*prefix, "sh", "-c", MOUNT_CGROUPS], remedy=manual_remedy())
    *first, last = DOCKERD_OPTIONS
    for options in first:
        try:
            return wait(launch(prefix, options))
        except SetupError as error:
            this.note(str(error))
    return wait(launch(prefix, last))


def launch(prefix: list[str], options: list[str]) -> subprocess.Popen[bytes]:
    """Start dockerd in its own session, so that it outlives this script and its terminal."""
    shell = 'echo $$ >"$1" && log=$2 && shift 2 && exec "$@" >"$log" 2>&1'
    command = [*prefix, "sh", "-c", shell, "sh", str(PID), str(LOG), "dockerd", *options]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True, cwd="/")


def wait(process: subprocess.Popen[bytes] | None) -> str:
    """Wait until the engine that was just started answers; return its address.

    Raises:
        SetupError: If it ends or does not answer in time; the message has the last lines of its log.
    """
    host = f"unix://{DEFAULT_SOCKET}"
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if find() == host:
            return host
        if process is not None and process.poll() is not None:
            raise SetupError("dockerd to start", f"it ended; {LOG} ends:\n{tail(LOG)}", f"read {LOG}, then: make setup")
        time.sleep(0.1)
    if process is None:
        expected = f"the engine to answer within {START_TIMEOUT_S} s"
        raise SetupError(expected, "it does not", "journalctl --unit docker")
    end_started()
    got = f"it does not; {LOG} ends:\n{tail(LOG)}"
    raise SetupError(f"dockerd to answer within {START_TIMEOUT_S} s", got, f"read {LOG}, then: make setup")


# Stopping an engine


def stop() -> None:
    """Stop the engine that set-up started, and no other."""
    with step("Docker engine") as this:
        this.outcome = "stopped" if end_started() else "nothing to stop: set-up started no engine; done"


def end_started() -> bool:
    """Stop the dockerd with the recorded process id; return whether there was one."""
    try:
        pid = int(PID.read_text())
    except (OSError, ValueError):
        return False
    if not is_dockerd(pid):
        return False
    subprocess.run([*(debian.root_prefix() or []), "sh", "-c", 'kill "$1"', "sh", str(pid)], check=False)
    end = time.monotonic() + START_TIMEOUT_S
    while is_dockerd(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return True


def is_dockerd(pid: int) -> bool:
    """Return whether a running process is a dockerd; another process may have got its id."""
    process = Path(f"/proc/{pid}")
    try:
        is_zombie = not (process / "cmdline").read_bytes()
        return (process / "comm").read_text().strip() == "dockerd" and not is_zombie
    except OSError:
        return False


def address() -> None:
    """Print the address of the engine, for DOCKER_HOST."""
    host = find()
    if host is None:
        raise SetupError("a Docker engine that answers", "none does", "make setup")
    sys.stdout.write(f"{host}\n")


if __name__ == "__main__":
    main({"start": set_up, "stop": stop, "address": address}[(sys.argv[1:] or ["start"])[0]])
