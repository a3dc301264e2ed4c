"""Install packages of Debian and Ubuntu, if this machine and user allow it."""

from __future__ import annotations

import os
import shutil
import subprocess

from steps import SetupError, Step


def root_prefix() -> list[str] | None:
    """Return the words before a command that run it as root: none, or sudo without a password; `None` if impossible."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        return ["sudo", "-n"]
    return None


def install(step: Step, *packages: str) -> None:
    """Install packages without asking questions.

    Raises:
        SetupError: If this user may not install packages, or it fails; the remedy is the command to type.
    """
    manual_command = f"sudo apt-get install --no-install-recommends {' '.join(packages)}    then: make setup"
    prefix = root_prefix()
    if shutil.which("apt-get") is None or prefix is None:
        raise SetupError(
            f"{', '.join(packages)} installed", "not installed, and this user may not install it", manual_command
        )
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Acquire::Retries=2"]
    apt += ["-o", "DPkg::Lock::Timeout=120"]
    step.run([*apt, "update"], remedy=f"check the network and apt's sources, or: {manual_command}")
    step.run([*apt, "install", "--yes", "--no-install-recommends", *packages], remedy=manual_command)
