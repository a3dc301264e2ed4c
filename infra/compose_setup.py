"""Prepare `infra/compose`: passwords in its `.env`, and base images from a registry or from Debian packages.

Run with the environment's Python when the engine answers: `.venv/bin/python infra/compose_setup.py`, or `make compose`.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import debian
import engine
from steps import ROOT, STATE, SetupError, Step, main, step

from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.evaluate import debian_image
from overnight.tasks.evaluate.backends.docker import DockerBackend
from overnight.tasks.evaluate.engine import DEFAULT_SOCKET
from overnight.tasks.evaluate.sandbox_image import pull
from overnight.tasks.history.private_files import open_private

FOLDER = ROOT / "infra/compose"
SETTINGS = FOLDER / ".env"
PASSWORDS = ("POSTGRES_PASSWORD", "SERVER_PASSWORD")
ENTRYPOINT = FOLDER / "postgres-entrypoint.sh"

OLDEST_COMPOSE = (2, 24)
"""Oldest Docker Compose that knows files of variables which need not exist."""

ENGINE_TIMEOUT_S = 600
"""Time that the engine may be silent while it imports an image, seconds."""

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
"""File with the authorities that this machine trusts; on a network that re-signs connections, it names one more."""


@dataclass(frozen=True)
class Base:
    """An image that the compose file starts from.

    Attributes:
        variable: Variable of the compose file that names it.
        registry: Its name in a registry.
        debian: Its name when it is built from Debian packages.
        packages: Those packages.
        changes: Lines of a Dockerfile that complete it.
        hooks: Options of mmdebstrap that complete its files.
    """

    variable: str
    registry: str
    debian: str
    packages: tuple[str, ...]
    changes: tuple[str, ...]
    hooks: tuple[str, ...]


BASES = (
    Base(
        variable="OVERNIGHT_BASE",
        registry="python:3.13-slim",
        debian="overnight-base",
        packages=("python3", "python3-venv", "libstdc++6", "ca-certificates"),
        changes=("ENV LANG=C.UTF-8",),
        hooks=(f"--customize-hook=copy-in {CERTIFICATES} {Path(CERTIFICATES).parent}",),
    ),
    Base(
        variable="POSTGRES_IMAGE",
        registry="postgres:17",
        debian="overnight-postgres",
        packages=("postgresql",),
        changes=("USER postgres", f'ENTRYPOINT ["/usr/local/bin/{ENTRYPOINT.name}"]'),
        hooks=(
            f"--customize-hook=copy-in {ENTRYPOINT} /usr/local/bin",
            '--customize-hook=chroot "$1" install -d -o postgres -m 0700 /var/lib/postgresql/data',
        ),
    ),
)


def set_up() -> None:
    """Find or build the base images, and write the `.env`, or the names of images that changed in it."""
    require_compose()
    host = engine.find()
    if host is None:
        raise SetupError("a Docker engine that answers", "none does", "make setup")
    os.environ["DOCKER_HOST"] = host
    given = {**read_settings(SETTINGS), **os.environ}
    images = {base.variable: find_or_build(base, given.get(base.variable, base.registry)) for base in BASES}
    with step("compose settings") as this:
        this.outcome = write_settings(SETTINGS, images, socket_settings(host))


def require_compose() -> None:
    """Require a Docker Compose that can read the compose file.

    Raises:
        SetupError: If there is none, or an older one.
    """
    try:
        done = subprocess.run(["docker", "compose", "version", "--short"], capture_output=True, text=True)
        found = done.stdout.strip().removeprefix("v") if done.returncode == 0 else ""
    except OSError:
        found = ""
    version = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    if version < OLDEST_COMPOSE:
        expected = f"Docker Compose {'.'.join(map(str, OLDEST_COMPOSE))} or newer, as `docker compose`"
        remedy = "sudo apt-get install docker-compose, or your system's package of it; then: make compose"
        raise SetupError(expected, found or "none", remedy)


def find_or_build(base: Base, name: str) -> str:
    """Return the name of a base image that the engine has: the one that is asked for, else one of Debian packages."""
    with step(f"image {name}") as this, closing(DockerBackend(runners=1, timeout_s=ENGINE_TIMEOUT_S)) as backend:
        try:
            if backend.has_image(name) or (not name.startswith(base.debian) and pulled(name, this)):
                return name
            name = f"{base.debian}:{recipe_hash(base)}"
            if not backend.has_image(name):
                from_debian(backend, base, name, this)
            this.outcome = f"no registry answers; {name} of Debian packages is ready"
        except EnvironmentFault as fault:
            raise SetupError(f"the image {name}", fault.message, f"{fault.remedy} Then: make compose") from None
    return name


def pulled(name: str, this: Step) -> bool:
    """Return whether a registry gave an image."""
    if fault := pull(name):
        this.note(fault)
    return not fault


def recipe_hash(base: Base) -> str:
    """Return the hash of what a base image is made from, so that a changed recipe gives a new image."""
    inputs = [*base.packages, *base.changes, ENTRYPOINT.read_text(), debian_image.codename()]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def from_debian(backend: DockerBackend, base: Base, name: str, this: Step) -> None:
    """Build a base image from packages of this system's release."""
    if not debian_image.is_debian():
        got = f"no registry provides {base.registry}, and this system has no apt-get to build it from Debian packages"
        remedy = f"name a copy that the engine has: export {base.variable}=IMAGE; then: make compose"
        raise SetupError("a registry, or Debian or Ubuntu", got, remedy)
    if shutil.which("mmdebstrap") is None:
        debian.install(this, "mmdebstrap")
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        files = Path(folder) / "files.tar"
        debian_image.write_files(files, base.packages, base.hooks)
        backend.import_files(files, name, base.changes)


def socket_settings(host: str) -> dict[str, str]:
    """Return where the engine's socket is and the group that may use it.

    An engine that runs in a virtual machine (macOS) has its socket there, at the usual place.
    """
    path = Path(host.removeprefix("unix://"))
    if not host.startswith("unix://") or os.uname().sysname != "Linux":
        return {"DOCKER_SOCKET": str(DEFAULT_SOCKET), "DOCKER_GID": "0"}
    return {"DOCKER_SOCKET": str(path), "DOCKER_GID": str(path.stat().st_gid)}


def read_settings(file: Path) -> dict[str, str]:
    """Return the variables of the `.env`; none if there is no such file."""
    lines = file.read_text().splitlines() if file.exists() else []
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))


def write_settings(file: Path, images: dict[str, str], socket: dict[str, str]) -> str:
    """Write the `.env`, readable by its owner only; of an existing one, change the names of images alone.

    Returns:
        What was done, for the line of this step.
    """
    found = read_settings(file)
    passwords = {name: secrets.token_hex(24) for name in PASSWORDS}
    wanted = {**socket, **passwords, **found, **images}
    if wanted == found:
        return f"{file.relative_to(ROOT)} is left as it is"
    others = [line for line in file.read_text().splitlines() if not re.match(r"\w+=", line)] if found else []
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    lines = [*others, *(f"{name}={value}" for name, value in wanted.items())]
    with open_private(temporary, "xb") as handle:
        handle.write("".join(f"{line}\n" for line in lines).encode())
    temporary.replace(file)
    return f"{file.relative_to(ROOT)} written"


if __name__ == "__main__":
    main(set_up)
