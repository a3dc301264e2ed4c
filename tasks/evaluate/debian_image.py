"""Make the files of an image of packages of this system's release, Debian or Ubuntu, where no registry answers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault

_OS_RELEASE = Path("/etc/os-release")


def is_debian() -> bool:
    """Return whether this is Debian, Ubuntu or another system with apt-get."""
    return shutil.which("apt-get") is not None and _OS_RELEASE.exists()


def is_ubuntu() -> bool:
    """Return whether this is Ubuntu, where python3-numpy is in the component `universe`."""
    return "ubuntu" in _OS_RELEASE.read_text().lower()


def codename() -> str:
    """Return the code name of this system's release, such as `trixie` or `noble`."""
    for line in _OS_RELEASE.read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip().strip('"')
    return "trixie"


def write_files(archive: Path, packages: Sequence[str], options: Sequence[str]) -> None:
    """Write the files of an image to a tar archive.

    Args:
        archive: Archive to write.
        packages: Packages in the image, beside the essential ones.
        options: Further options of mmdebstrap.

    Raises:
        EnvironmentFault: If mmdebstrap fails; the message has the end of its output.
    """
    done = subprocess.run(
        mmdebstrap(archive, packages, options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-12:])
        raise EnvironmentFault(
            f"mmdebstrap failed with exit code {done.returncode}:\n{last}",
            remedy="Check the network and apt's sources with `apt-get update`, then repeat the command.",
        )


def mmdebstrap(archive: Path, packages: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return the command of `write_files`; it uses one mirror, since the host's full list may not fit."""
    command = ["mmdebstrap", "--variant=essential", f"--include={','.join(packages)}"]
    command += ["--components=main,universe" if is_ubuntu() else "--components=main"]
    command += [f"--aptopt={option}" for option in _apt_options()]
    # The files need not survive a power cut, and waiting for the disk takes longer than everything else.
    command += ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*"]
    return [*command, *options, codename(), str(archive), *_mirrors()]


def _mirrors() -> list[str]:
    """Return the mirror of this system's release; an empty list leaves the choice to mmdebstrap."""
    line_format = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    command = ["apt-get", "indextargets", "--format", line_format, "Created-By: Packages"]
    for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines():
        release, component, uri = line.split(" ", 2)
        is_distribution = uri.rstrip("/").endswith(("/debian", "/ubuntu", "/ubuntu-ports"))
        if release == codename() and component == "main" and is_distribution and uri.startswith("http"):
            return [uri]
    return []


def _apt_options() -> list[str]:
    """Return this system's apt options for proxies, certificates and dates, which its mirror may require."""
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout.splitlines()
    wanted = ("Acquire::http::Proxy ", "Acquire::https::", "Acquire::Check-Valid-Until ", "Acquire::Check-Date ")
    return [line for line in settings if line.startswith(wanted) and not line.endswith('"";')]
