"""Find or build the sandbox image, a slim Python and numpy: from a registry if one answers, else of Debian packages.

`overnight doctor --fix` and set-up do so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault, SandboxUnavailable, SpecificationError
from overnight.tasks.evaluate import debian_image, images, packages
from overnight.tasks.evaluate.engine_images import EngineImages

NAME = "overnight-sandbox"

NUMPY_LOCK = Path(__file__).with_name("numpy.lock")
"""The locked versions of numpy, with hashes; `make lock` writes it."""

_REGISTRY_S = 20
"""Time without a byte from the registry after which it counts as unreachable, seconds."""

_BUILD_S = 300
"""Time that the engine may be silent while it builds or imports, seconds."""

_VARIABLES = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # A slot has one core: BLAS threads would compete for it, and count towards the sandbox's limit on processes.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

_DEBIAN_PACKAGES = ("python3", "python3-numpy")
"""Debian packages in the image. python3-minimal would lack json, random, statistics and many other modules."""

_EMPTIED = ("/usr/share", "/var/lib/apt", "/var/lib/dpkg", "/var/cache", "/var/log", "/etc/apt")
"""Folders that are emptied after installation: documentation, translations, and data of apt and dpkg."""

_DEBIAN_OPTIONS = (
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--customize-hook=rm -rf " + " ".join(f'"$1"{folder}/*' for folder in _EMPTIED),
    '--customize-hook=find "$1" -xdev -type f -perm /6000 -exec chmod a-s {} +',
)

_FOLDERS = 'import json, sysconfig; print(json.dumps([sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]))'
"""Program that prints where an image's Python has its standard library and its packages."""

CHECK = """
import bisect, cmath, collections, dataclasses, decimal, fractions, functools, heapq, itertools, json, math, random, re
import ctypes, gc, os, resource, select, signal, socket, statistics, string, struct, sys, traceback, typing
import numpy, numpy.fft, numpy.linalg, numpy.random
assert sys.version_info >= (3, 11), f"Python >= 3.11 expected, got {sys.version}"
assert numpy.linalg.inv(2 * numpy.eye(3))[0, 0] == 0.5
print(json.dumps({"python": sys.version.split()[0], "numpy": numpy.__version__}))
"""
"""Program that imports what candidates may use."""


def ensure_image(note: Callable[[str], None], sources: Sequence[str] = ()) -> str:
    """Find or build the image of this recipe, tag it as the latest and return its name.

    Args:
        note: Function that takes a message before each slow step.
        sources: What it may be built from, in the order of trying; by default `default_sources()`.

    Raises:
        EnvironmentFault: If no engine answers, or the image can be built from none of the sources.
    """
    name = f"{NAME}:{recipe_hash()}"
    with contextlib.closing(EngineImages(runners=1, timeout_s=_BUILD_S)) as engine:
        if not engine.has_image(name):
            _build(engine, name, sources or default_sources(), note)
            _require_modules(engine, name)
        engine.tag(name, f"{NAME}:latest")
    return name


def default_sources() -> list[str]:
    """Return what the image is built from: `registry`, then `debian`, or the one that OVERNIGHT_SANDBOX_FROM allows."""
    named = os.environ.get("OVERNIGHT_SANDBOX_FROM")
    return [named] if named else ["registry", "debian"]


def base_image() -> str:
    """Return the image that numpy is added to; any with a Python can be used, such as a mirror's copy."""
    return os.environ.get("OVERNIGHT_SANDBOX_BASE", "python:3.13-slim")


def recipe_hash() -> str:
    """Return the hash of everything that the image is made from, so that a changed recipe gives a new image."""
    of_registry = [base_image(), NUMPY_LOCK.read_text(), _dockerfile("LIBRARY", "SITE")]
    inputs = [*of_registry, *_DEBIAN_PACKAGES, *_DEBIAN_OPTIONS, *_settings(), CHECK]
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:12]


def _build(engine: EngineImages, name: str, sources: Sequence[str], note: Callable[[str], None]) -> None:
    """Build the image from the first source that provides it."""
    ways = {"registry": _from_registry, "debian": _from_debian}
    faults = list[EnvironmentFault]()
    for source in sources:
        if source not in ways:
            raise EnvironmentFault(
                f"OVERNIGHT_SANDBOX_FROM is registry or debian, got {source}", remedy="unset OVERNIGHT_SANDBOX_FROM"
            )
        try:
            ways[source](engine, name, note)
            return
        except SandboxUnavailable:
            raise
        except EnvironmentFault as fault:
            faults.append(fault)
            note(fault.message)
    raise EnvironmentFault(
        f"cannot build the sandbox image: {'; '.join(fault.message for fault in faults)}", remedy=faults[-1].remedy
    )


def pull(image: str) -> str:
    """Pull an image, and give up when its registry is silent; return why that failed, or an empty text."""
    with contextlib.closing(EngineImages(runners=1, timeout_s=_REGISTRY_S)) as puller:
        return puller.pull(image)


def _require_modules(engine: EngineImages, name: str) -> None:
    output, complaint = engine.run_python(name, CHECK)
    if not output:
        engine.remove_image(name)
        raise EnvironmentFault(
            f"the image that was built lacks Python 3.11, numpy or a module: {complaint.strip()[-500:]}",
            remedy="Name another base image, export OVERNIGHT_SANDBOX_BASE=IMAGE, and repeat the command.",
        )


def _settings() -> list[str]:
    """Return the lines of a Dockerfile that an image from any source has."""
    return [*(f"ENV {name}={value}" for name, value in _VARIABLES.items()), 'CMD ["python3"]']


def _dockerfile(library: str, site: str) -> str:
    """Return what adds packages to the base image, after its first line.

    compileall does not run what it compiles: as the sandbox's root is read-only, every slot would otherwise compile the
    standard library again.

    Args:
        library: Folder of the standard library.
        site: Folder of packages.
    """
    compile_all = ["python3", "-m", "compileall", "-q", "-j", "0", "-x", "bad_", library, site]
    return "\n".join([*_settings(), f"COPY site/ {site}/", f"RUN {json.dumps(compile_all)}", ""])


def _labels(source: str) -> dict[str, str]:
    return {"overnight.recipe": recipe_hash(), "overnight.from": source}


def _from_registry(engine: EngineImages, name: str, note: Callable[[str], None]) -> None:
    """Add numpy to the base image: the wheel is checked and unpacked here and only copied, so none of its code runs."""
    base = base_image()
    if not engine.has_image(base):
        note(f"pulling {base}")
        if fault := pull(base):
            raise EnvironmentFault(
                f"no registry provides {base}: {fault}",
                remedy="Check the network, or name a mirror's copy: export OVERNIGHT_SANDBOX_BASE=IMAGE; then "
                "repeat the command.",
            )
    interpreter = packages.examine(engine, base)
    library, site = json.loads(engine.run_python(base, _FOLDERS)[0])
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        note(f"fetching numpy for Python {interpreter.version}")
        try:
            packages.fetch(["numpy"], NUMPY_LOCK.read_text(), interpreter, Path(folder))
        except SpecificationError as error:
            raise EnvironmentFault(error.message, remedy=error.remedy) from error
        note(f"building the image on {base}")
        images.build(engine, name, base, _dockerfile(library, site), folder, "site", _labels("registry"))


def _from_debian(engine: EngineImages, name: str, note: Callable[[str], None]) -> None:
    """Build the image of Python and numpy of this system's release."""
    if not debian_image.is_debian():
        raise EnvironmentFault(
            "this system has no apt-get to build the image of Debian packages instead",
            remedy=f"Check the network, then: docker pull {base_image()}; overnight doctor --fix",
        )
    if shutil.which("mmdebstrap") is None:
        raise EnvironmentFault(
            "mmdebstrap, which builds it of Debian packages, is not installed",
            remedy="sudo apt-get install --no-install-recommends mmdebstrap; overnight doctor --fix",
        )
    labels = [f"LABEL {label}={value}" for label, value in _labels("debian").items()]
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        note(f"building the image of Debian packages: {', '.join(_DEBIAN_PACKAGES)}")
        archive = Path(folder) / "files.tar"
        debian_image.write_files(archive, _DEBIAN_PACKAGES, _DEBIAN_OPTIONS)
        engine.import_files(archive, name, [*_settings(), *labels])
