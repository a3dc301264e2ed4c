"""Prepare `infra/compose`: passwords in its `.env`, and base images from a registry or from Debian packages.

Run with the environment's Python when the engine answers: `.venv/bin/python infra/compose_setup.py`, or `make compose`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import debian
import docker
import docker.errors
import engine
import requests
from steps import ROOT, STATE, SetupError, Step, main, step

FOLDER = ROOT / "infra/compose"
ENTRYPOINT = FOLDER / "postgres-entrypoint.sh"

REGISTRY_TIMEOUT_S = 20
"""Time without a byte from the registry after which it counts as unreachable, seconds."""

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
    """Write the `.env` unless there is one; images are found or built in any case."""
    host = engine.find()
    if host is None:
        raise SetupError("a Docker engine that answers", "none does", "make setup")
    images = dict(find_or_build(base, host) for base in BASES)
    with step("compose settings") as this:
        this.outcome = write_settings(FOLDER / ".env", {**images, **socket_settings(host)})


def find_or_build(base: Base, host: str) -> tuple[str, str]:
    """Return the variable that names a base image, and the image that the engine has now."""
    name = os.environ.get(base.variable, base.registry)
    with step(f"image {name}") as this, engine.connect(host, ENGINE_TIMEOUT_S) as client:
        try:
            if has_image(client, name) or pull(name, host, this):
                return base.variable, name
            name = f"{base.debian}:{recipe_hash(base)}"
            if not has_image(client, name):
                from_debian(client, base, name, this)
            this.outcome = f"no registry answers; {name} of Debian packages is ready"
        except (docker.errors.DockerException, requests.RequestException) as error:
            got = str(getattr(error, "explanation", None) or error)
            raise SetupError(f"the engine to provide {name}", got, f"read {this.log}, then: make compose") from None
    return base.variable, name


def has_image(client: docker.DockerClient, name: str) -> bool:
    """Return whether the engine has an image."""
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def pull(name: str, host: str, this: Step) -> bool:
    """Pull an image; return whether the registry gave it."""
    repository, _, tag = name.rpartition(":")
    try:
        with engine.connect(host, REGISTRY_TIMEOUT_S) as puller:
            for line in puller.api.pull(repository or name, tag=tag, stream=True, decode=True):
                if "error" in line:
                    this.note(line["error"])
                    return False
    except (docker.errors.DockerException, requests.RequestException) as error:
        this.note(str(error))
        return False
    return True


def recipe_hash(base: Base) -> str:
    """Return the hash of what a base image is made from, so that a changed recipe gives a new image."""
    inputs = [*base.packages, *base.changes, ENTRYPOINT.read_text(), debian.codename()]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def from_debian(client: docker.DockerClient, base: Base, name: str, this: Step) -> None:
    """Build a base image from packages of this system's release."""
    if not debian.is_debian():
        got = f"no registry provides {base.registry}, and this system has no apt-get to build it from Debian packages"
        remedy = f"name a copy that the engine has: export {base.variable}=IMAGE; then: make compose"
        raise SetupError("a registry, or Debian or Ubuntu", got, remedy)
    if shutil.which("mmdebstrap") is None:
        debian.install(this, "mmdebstrap")
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        files = Path(folder) / "files.tar"
        this.run(mmdebstrap(base, files), remedy="check apt's sources with: apt-get update; then: make compose")
        output = client.api.import_image(src=str(files), changes=list(base.changes))
    this.note(output)
    repository, _, tag = name.partition(":")
    client.images.get(json.loads(output.splitlines()[-1])["status"]).tag(repository, tag)


def mmdebstrap(base: Base, files: Path) -> list[str | Path]:
    """Return the command that writes the files of a base image."""
    command: list[str | Path] = ["mmdebstrap", "--variant=essential", f"--include={','.join(base.packages)}"]
    command += ["--components=main,universe" if debian.is_ubuntu() else "--components=main"]
    command += [f"--aptopt={option}" for option in debian.options()]
    command += ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*", *base.hooks]
    return [*command, debian.codename(), files, *debian.mirrors()]


def socket_settings(host: str) -> dict[str, str]:
    """Return where the engine's socket is and the group that may use it.

    An engine that runs in a virtual machine (macOS) has its socket there, at the usual place.
    """
    path = Path(host.removeprefix("unix://"))
    if not host.startswith("unix://") or os.uname().sysname != "Linux":
        return {"DOCKER_SOCKET": str(engine.SOCKET), "DOCKER_GID": "0"}
    return {"DOCKER_SOCKET": str(path), "DOCKER_GID": str(path.stat().st_gid)}


def write_settings(file: Path, settings: dict[str, str]) -> str:
    """Write the settings with new passwords, readable by their owner only; leave an existing file alone.

    Returns:
        What was done, for the line of this step.
    """
    if file.exists():
        return f"{file.relative_to(ROOT)} is left as it is"
    settings = {**settings, "POSTGRES_PASSWORD": secrets.token_hex(24), "SERVER_PASSWORD": secrets.token_hex(24)}
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.writelines(f"{name}={value}\n" for name, value in settings.items())
    return f"{file.relative_to(ROOT)} written"


if __name__ == "__main__":
    main(set_up)
