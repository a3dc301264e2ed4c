"""Build the sandbox image, a slim Python and numpy: from a registry if one answers, else from Debian packages.

Run with the environment's Python when the engine answers: `.venv/bin/python infra/image.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import debian
import docker
import docker.errors
import engine
import requests
from environment import find_uv
from steps import ROOT, STATE, SetupError, Step, main, step

NAME = "overnight-sandbox"
BASE = os.environ.get("OVERNIGHT_SANDBOX_BASE", "python:3.13-slim")
"""Image that numpy is added to; any image with a Python can be used, such as a mirror's copy."""

REGISTRY_TIMEOUT_S = 20
"""Time without a byte from the registry after which it counts as unreachable, seconds."""

ENGINE_TIMEOUT_S = 300
"""Time that the engine may be silent while it builds or imports, seconds."""

VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # A slot has one core: BLAS threads would compete for it, and count towards the sandbox's limit on processes.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

PACKAGES = ["python3", "python3-numpy"]
"""Debian packages in the image. python3-minimal would lack json, random, statistics and many other modules."""

EMPTIED_FOLDERS = ["/usr/share", "/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/var/log", "/etc/apt"]
"""Folders that are emptied after installation: documentation, translations, and data of apt and dpkg."""

DESCRIBE = """
import json, platform, sys, sysconfig
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "machine": platform.machine(),
                  "stdlib": sysconfig.get_path("stdlib"), "site": sysconfig.get_path("purelib")}))
"""

CHECK = """
import bisect, cmath, collections, dataclasses, decimal, fractions, functools, heapq, itertools, json, math, random, re
import ctypes, gc, os, resource, select, signal, socket, statistics, string, struct, sys, traceback, typing
import numpy, numpy.fft, numpy.linalg, numpy.random
assert sys.version_info >= (3, 11), f"Python >= 3.11 expected, got {sys.version}"
assert numpy.linalg.inv(2 * numpy.eye(3))[0, 0] == 0.5
print(json.dumps({"python": sys.version.split()[0], "numpy": numpy.__version__}))
"""


class RegistryError(Exception):
    """The registry does not answer, or has no such image or wheel, so the image is built from Debian packages."""


def set_up() -> None:
    """Find or build the sandbox image."""
    host = engine.find()
    if host is None:
        raise SetupError("a Docker engine that answers", "none does", "make setup")
    with step("sandbox image") as this, engine.connect(host, ENGINE_TIMEOUT_S) as client:
        try:
            this.outcome = ensure_image(client, host, this)
        except (docker.errors.DockerException, requests.RequestException) as error:
            got = str(getattr(error, "explanation", None) or error)
            remedy = f"read {this.log}, then: make setup"
            raise SetupError("the engine to provide the sandbox image", got, remedy) from None


def ensure_image(client: docker.DockerClient, host: str, this: Step) -> str:
    """Find or build the image of this recipe and tag it as the latest; return a description of it."""
    recipe = recipe_hash()
    try:
        image, outcome = client.images.get(f"{NAME}:{recipe}"), "found"
    except docker.errors.ImageNotFound:
        image_id = build(client, host, recipe, this)
        outcome = f"{check(client, image_id, this)} ready"
        image = client.images.get(image_id)
        image.tag(NAME, recipe)
    image.tag(NAME, "latest")
    return f"{outcome} ({NAME}:{recipe})"


def recipe_hash() -> str:
    """Return the hash of everything that the image is made from, so that a changed recipe gives a new image."""
    inputs = [Path(__file__).read_text(), (ROOT / "infra/sandbox.Dockerfile").read_text(), numpy_lock(), BASE]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def numpy_lock() -> str:
    """Return the lines of the lock that pin numpy, with its hashes."""
    lock = (ROOT / "infra/requirements.lock").read_text()
    return "".join(re.findall(r"^numpy==(?:.*\\\n)+.*\n", lock, re.MULTILINE))


def build(client: docker.DockerClient, host: str, recipe: str, this: Step) -> str:
    """Build the image from a registry or from Debian packages, whichever works first; return its id."""
    source = os.environ.get("OVERNIGHT_SANDBOX_FROM", "")
    if source != "debian":
        try:
            pull(client, host, this)
            return on_base(client, recipe, this)
        except RegistryError as error:
            this.note(f"no registry: {error}")
            if source == "registry":
                raise SetupError(f"{BASE} from a registry", str(error), "check the network, then: make setup") from None
    return from_debian(client, recipe, this)


def check(client: docker.DockerClient, image: str, this: Step) -> str:
    """Import the modules in the image that programs may use; return its versions of Python and numpy.

    Raises:
        SetupError: If an import fails; the image is removed.
    """
    try:
        found = run(client, image, CHECK)
    except docker.errors.ContainerError as error:
        client.images.remove(image, force=True)
        output = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else str(error)
        this.note(output)
        remedy = f"read {this.log}, then: make setup"
        raise SetupError("Python >= 3.11 and numpy in the image", output.strip().splitlines()[-1], remedy) from None
    return f"Python {found['python']}, numpy {found['numpy']}"


def run(client: docker.DockerClient, image: str, code: str) -> dict[str, Any]:
    """Run a few lines of Python in an image, without network; return the JSON that they print."""
    command = ["python3", "-c", code]
    output = client.containers.run(image, command, network_mode="none", read_only=True, remove=True)
    return json.loads(output)


def labels(recipe: str, source: str) -> dict[str, str]:
    """Return the labels of an image with this recipe, from a `registry` or from `debian` packages."""
    return {"overnight.recipe": recipe, "overnight.from": source}


# From a registry


def pull(client: docker.DockerClient, host: str, this: Step) -> None:
    """Pull the base image unless it is there; try once, and give up when the registry is silent.

    Raises:
        RegistryError: If the image cannot be pulled.
    """
    try:
        client.images.get(BASE)
        return
    except docker.errors.ImageNotFound:
        pass
    name, _, tag = BASE.rpartition(":")
    try:
        with engine.connect(host, REGISTRY_TIMEOUT_S) as puller:
            for line in puller.api.pull(name, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise RegistryError(line["error"])
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise RegistryError(str(error)) from None
    this.note(f"pulled {BASE}")


def on_base(client: docker.DockerClient, recipe: str, this: Step) -> str:
    """Add numpy to the base image; return the id of the new image."""
    base = run(client, BASE, DESCRIBE)
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        fetch_numpy(Path(folder), base, this)
        context = pack(Path(folder))
    lines = client.api.build(
        fileobj=context,
        custom_context=True,
        dockerfile="sandbox.Dockerfile",
        buildargs={"BASE": BASE, "STDLIB": base["stdlib"], "SITE": base["site"]},
        labels=labels(recipe, "registry"),
        network_mode="none",
        rm=True,
        forcerm=True,
        decode=True,
    )
    image_id = ""
    for line in lines:
        this.note(str(line.get("stream", line)).rstrip())
        if "error" in line:
            raise SetupError(f"numpy to be added to {BASE}", line["error"], f"read {this.log}")
        image_id = line.get("aux", {}).get("ID", image_id)
    return image_id


def fetch_numpy(folder: Path, base: dict[str, Any], this: Step) -> None:
    """Unpack the locked numpy wheel for the base image's Python, which may differ from this machine's.

    Raises:
        RegistryError: If the wheel cannot be fetched.
    """
    (folder / "numpy.lock").write_text(numpy_lock())
    platform = f"{base['machine']}-manylinux_2_28"
    uv = [find_uv(this), "pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    uv += ["--python-version", base["python"], "--python-platform", platform, "--target", folder / "site"]
    try:
        this.run([*uv, "-r", folder / "numpy.lock"], remedy="")
    except SetupError as error:
        raise RegistryError(str(error)) from None


def pack(folder: Path) -> io.BytesIO:
    """Return the context of the build: the Dockerfile and the unpacked wheel."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(ROOT / "infra/sandbox.Dockerfile", "sandbox.Dockerfile")
        tar.add(folder / "site", "site", filter=as_root_owned)
    context.seek(0)
    return context


def as_root_owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member of an archive with root as its owner."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


# From Debian packages


def from_debian(client: docker.DockerClient, recipe: str, this: Step) -> str:
    """Build an image from Python and numpy of this system's release; return its id."""
    if not debian.is_debian():
        got = f"no registry provides {BASE}, and this system has no apt-get to build from Debian packages instead"
        raise SetupError(
            "a registry, or Debian or Ubuntu", got, f"check the network, then: docker pull {BASE}; make setup"
        )
    if shutil.which("mmdebstrap") is None:
        debian.install(this, "mmdebstrap")
    variables = [f"ENV {name}={value}" for name, value in VARIABLES.items()]
    label_lines = [f"LABEL {name}={value}" for name, value in labels(recipe, "debian").items()]
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        files = Path(folder) / "files.tar"
        this.run(mmdebstrap(files), remedy="check apt's sources with: apt-get update; then: make setup")
        output = client.api.import_image(src=str(files), changes=[*variables, *label_lines, 'CMD ["python3"]'])
    this.note(output)
    return json.loads(output.splitlines()[-1])["status"]


def mmdebstrap(files: Path) -> list[str | Path]:
    """Return the command that writes the image's files, from one mirror, since the host's full list may not fit."""
    emptied = " ".join(f'"$1"{folder}/*' for folder in EMPTIED_FOLDERS)
    command: list[str | Path] = ["mmdebstrap", "--variant=essential", f"--include={','.join(PACKAGES)}"]
    command += ["--components=main,universe" if debian.is_ubuntu() else "--components=main"]
    command += [f"--aptopt={option}" for option in debian.options()]
    # The files need not survive a power cut, and waiting for the disk takes longer than everything else.
    command += ["--dpkgopt=force-unsafe-io"]
    command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
    command += [f"--customize-hook=rm -rf {emptied}"]
    command += ['--customize-hook=find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +']
    return [*command, debian.codename(), files, *debian.mirrors()]


if __name__ == "__main__":
    main(set_up)
