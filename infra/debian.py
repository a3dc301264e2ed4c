"""Debian's and Ubuntu's packages: whether they may be installed here, and installing them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from steps import Step, StopError


def is_debian() -> bool:
    """Whether this is Debian, Ubuntu or another system with apt-get."""
    return shutil.which("apt-get") is not None and Path("/etc/os-release").exists()


def codename() -> str:
    """The release this system is, such as `trixie` or `noble`."""
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip().strip('"')
    return "trixie"


def as_root() -> list[str] | None:
    """What to put before a command to run it as root: nothing, sudo where it asks for no password, or None."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install(step: Step, *packages: str) -> None:
    """Install packages without asking anything; stop with the command to type where that is not allowed."""
    by_hand = f"sudo apt-get install --no-install-recommends {' '.join(packages)}    then: make setup"
    prefix = as_root()
    if not is_debian() or prefix is None:
        raise StopError(f"{', '.join(packages)} installed", "not installed, and this user may not install it", by_hand)
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Acquire::Retries=2"]
    apt += ["-o", "DPkg::Lock::Timeout=120"]
    step.run([*apt, "update"], remedy=f"check the network and apt's sources, or: {by_hand}")
    step.run([*apt, "install", "--yes", "--no-install-recommends", *packages], remedy=by_hand)


def is_ubuntu() -> bool:
    """Whether python3-numpy is in a component of its own, `universe`."""
    return "ubuntu" in Path("/etc/os-release").read_text().lower()


def mirrors() -> list[str]:
    """The mirror this system takes its release from; empty where mmdebstrap's own choice must do."""
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        release, component, uri = line.split(" ", 2)
        own = uri.rstrip("/").endswith(("/debian", "/ubuntu", "/ubuntu-ports"))
        if release == codename() and component == "main" and own and uri.startswith("http"):
            return [uri]
    return []


def options() -> list[str]:
    """This system's apt settings about proxies, certificates and clocks: without them its mirror may not answer."""
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout.splitlines()
    wanted = ("Acquire::http::Proxy ", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    return [line for line in said if line.startswith(wanted) and not line.endswith('"";')]
