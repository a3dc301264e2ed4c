"""The sandbox image: a slim Python and numpy, from a registry where one answers, else from Debian packages.

Run with the environment's Python, once the engine answers: `.venv/bin/python infra/image.py`.
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
from steps import ROOT, STATE, Step, StopError, main, step

NAME = "overnight-sandbox"
BASE = os.environ.get("OVERNIGHT_SANDBOX_BASE", "python:3.13-slim")
"""The image to add numpy to: any image with a Python of its own will do, such as a mirror's copy."""

SILENCE = 20
"""Seconds without a byte from the registry after which it counts as out of reach."""

PATIENCE = 300
"""Seconds that the engine may be silent while it builds or imports."""

VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # A slot is one core: BLAS threads would fight for it, and count against the sandbox's limit on processes.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

PACKAGES = ["python3", "python3-numpy"]
"""Debian's names. With python3-minimal alone json, random, statistics and many more would be missing."""

EMPTIED = ["/usr/share", "/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/var/log", "/etc/apt"]
"""Folders emptied once the packages are in: documentation, translations, and what only apt and dpkg need."""

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
    """A registry does not answer or has no such thing: the other way is taken."""


def set_up() -> None:
    host = engine.find()
    if host is None:
        raise StopError("a Docker engine that answers", "none does", "make setup")
    with step("sandbox image") as this, engine.connect(host, PATIENCE) as client:
        try:
            this.outcome = have_image(client, host, this)
        except (docker.errors.DockerException, requests.RequestException) as error:
            got = str(getattr(error, "explanation", None) or error)
            remedy = f"read {this.log}, then: make setup"
            raise StopError("the engine to give the sandbox image", got, remedy) from None


def have_image(client: docker.DockerClient, host: str, this: Step) -> str:
    """Find the image of this recipe or build it, and give it the name that the product looks for; what it is."""
    recipe = recipe_hash()
    try:
        image, outcome = client.images.get(f"{NAME}:{recipe}"), "found"
    except docker.errors.ImageNotFound:
        made = build(client, host, recipe, this)
        outcome = f"{check(client, made, this)} ready"
        image = client.images.get(made)
        image.tag(NAME, recipe)
    image.tag(NAME, "latest")
    return f"{outcome} ({NAME}:{recipe})"


def recipe_hash() -> str:
    """Names everything the image is made from, so that a changed recipe is a new image."""
    recipe = [Path(__file__).read_text(), (ROOT / "infra/sandbox.Dockerfile").read_text(), numpy_lock(), BASE]
    return hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]


def numpy_lock() -> str:
    """The lines of the lock that pin numpy and hold its hashes."""
    lock = (ROOT / "infra/requirements.lock").read_text()
    return "".join(re.findall(r"^numpy==(?:.*\\\n)+.*\n", lock, re.MULTILINE))


def build(client: docker.DockerClient, host: str, recipe: str, this: Step) -> str:
    """Build by the first way that works; the id of the image."""
    way = os.environ.get("OVERNIGHT_SANDBOX_FROM", "")
    if way != "debian":
        try:
            pull(client, host, this)
            return on_base(client, recipe, this)
        except RegistryError as error:
            this.note(f"no registry: {error}")
            if way == "registry":
                raise StopError(f"{BASE} from a registry", str(error), "check the network, then: make setup") from None
    return from_debian(client, recipe, this)


def check(client: docker.DockerClient, image: str, this: Step) -> str:
    """Import in the image what programs may import; what it holds, in words."""
    try:
        found = run(client, image, CHECK)
    except docker.errors.ContainerError as error:
        client.images.remove(image, force=True)
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else str(error)
        this.note(said)
        remedy = f"read {this.log}, then: make setup"
        raise StopError("Python >= 3.11 and numpy in the image", said.strip().splitlines()[-1], remedy) from None
    return f"Python {found['python']}, numpy {found['numpy']}"


def run(client: docker.DockerClient, image: str, code: str) -> dict[str, Any]:
    """Run a few lines of Python in an image, without network, and read the JSON they print."""
    command = ["python3", "-c", code]
    said = client.containers.run(image, command, network_mode="none", read_only=True, remove=True)
    return json.loads(said)


def labels(recipe: str, way: str) -> dict[str, str]:
    return {"overnight.recipe": recipe, "overnight.from": way}


# From a registry


def pull(client: docker.DockerClient, host: str, this: Step) -> None:
    """Have the base image here: one try, given up once the registry is silent."""
    try:
        client.images.get(BASE)
        return
    except docker.errors.ImageNotFound:
        pass
    name, _, tag = BASE.rpartition(":")
    try:
        with engine.connect(host, SILENCE) as impatient:
            for line in impatient.api.pull(name, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise RegistryError(line["error"])
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise RegistryError(str(error)) from None
    this.note(f"pulled {BASE}")


def on_base(client: docker.DockerClient, recipe: str, this: Step) -> str:
    """Add numpy to the base image."""
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
    built = ""
    for line in lines:
        this.note(str(line.get("stream", line)).rstrip())
        if "error" in line:
            raise StopError(f"numpy to be added to {BASE}", line["error"], f"read {this.log}")
        built = line.get("aux", {}).get("ID", built)
    return built


def fetch_numpy(folder: Path, base: dict[str, Any], this: Step) -> None:
    """Unpack the locked numpy wheel for the base image's Python, not for this machine's."""
    (folder / "numpy.lock").write_text(numpy_lock())
    platform = f"{base['machine']}-manylinux_2_28"
    uv = [find_uv(this), "pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    uv += ["--python-version", base["python"], "--python-platform", platform, "--target", folder / "site"]
    try:
        this.run([*uv, "-r", folder / "numpy.lock"], remedy="")
    except StopError as stop:
        raise RegistryError(str(stop)) from None


def pack(folder: Path) -> io.BytesIO:
    """The build's context: the recipe and the unpacked wheel."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(ROOT / "infra/sandbox.Dockerfile", "sandbox.Dockerfile")
        tar.add(folder / "site", "site", filter=as_root_owned)
    context.seek(0)
    return context


def as_root_owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


# From Debian packages


def from_debian(client: docker.DockerClient, recipe: str, this: Step) -> str:
    """Unpack this system's own release of Python and numpy into an image of their own."""
    if not debian.is_debian():
        got = f"no registry gives {BASE}, and this system has no apt-get to build from Debian packages instead"
        raise StopError(
            "a registry, or Debian or Ubuntu", got, f"check the network, then: docker pull {BASE}; make setup"
        )
    if shutil.which("mmdebstrap") is None:
        debian.install(this, "mmdebstrap")
    variables = [f"ENV {name}={value}" for name, value in VARIABLES.items()]
    marks = [f"LABEL {name}={value}" for name, value in labels(recipe, "debian").items()]
    with tempfile.TemporaryDirectory(dir=STATE) as folder:
        files = Path(folder) / "files.tar"
        this.run(mmdebstrap(files), remedy="check apt's sources with: apt-get update; then: make setup")
        said = client.api.import_image(src=str(files), changes=[*variables, *marks, 'CMD ["python3"]'])
    this.note(said)
    return json.loads(said.splitlines()[-1])["status"]


def mmdebstrap(files: Path) -> list[str | Path]:
    """The command that writes the image's files, from the one mirror named: a list of the host's may suit no other."""
    emptied = " ".join(f'"$1"{folder}/*' for folder in EMPTIED)
    command: list[str | Path] = ["mmdebstrap", "--variant=essential", f"--include={','.join(PACKAGES)}"]
    command += ["--components=main,universe" if debian.is_ubuntu() else "--components=main"]
    command += [f"--aptopt={option}" for option in debian.options()]
    # Nothing needs to survive a power cut here; waiting for the disk takes longer than all the rest.
    command += ["--dpkgopt=force-unsafe-io"]
    command += ["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]
    command += [f"--customize-hook=rm -rf {emptied}"]
    command += ['--customize-hook=find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +']
    return [*command, debian.codename(), files, *debian.mirrors()]


if __name__ == "__main__":
    main(set_up)
