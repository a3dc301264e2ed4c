"""Make the environment `.venv` with uv: exactly the locked packages, and this project.

This module uses the standard library only. It runs with any Python from 3.11 on, which `infra/setup.sh` finds and which
the environment then uses.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import debian
from steps import ROOT, STATE, SetupError, Step, main, step

VENV = ROOT / ".venv"
LOCK = ROOT / "infra/requirements.lock"
UV_LOCK = ROOT / "infra/bootstrap.lock"
NUMPY_LOCK = ROOT / "tasks/evaluate/numpy.lock"
"""The lines of the lock for the sandbox image, which is built wherever Overnight is installed."""

STAMP = VENV / "overnight.stamp"
"""File with the hash of the environment's inputs; written last, so that an incomplete environment has none."""

OLDEST_UV = (0, 8)
"""Oldest uv on PATH that is used; older ones may not know the options below."""

SETTINGS = {
    "UV_PYTHON_DOWNLOADS": "never",  # use this machine's Python
    "UV_SYSTEM_CERTS": "true",  # if a network re-signs connections, only the system knows the certificate
    "UV_NATIVE_TLS": "true",  # the same, for older versions of uv
    "VIRTUAL_ENV": str(VENV),
}


def set_up() -> None:
    """Make the environment unless it is up to date."""
    with step("environment") as this:
        wanted = fingerprint()
        if (VENV / "bin/python").exists() and STAMP.exists() and STAMP.read_text() == wanted:
            this.outcome = "found"
            return
        STAMP.unlink(missing_ok=True)
        create(find_uv(this), this)
        STAMP.write_text(wanted)
        this.outcome = f"Python {sys.version.split()[0]} ready"


def fingerprint() -> str:
    """Return the hash of the environment's inputs: the lock, the project, and the folder it is installed from."""
    inputs = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), bytes(ROOT)]
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()


def create(uv: Path, this: Step) -> None:
    """Install exactly the locked packages into `.venv`, and this project in place."""
    remedy = f"check the network, then: make setup    (details: {this.log})"
    if not (VENV / "bin/python").exists():
        this.run([uv, "venv", "--clear", "--python", sys.executable, VENV], remedy=remedy, env=SETTINGS)
    this.tell(f"{LOCK.read_text().count('==')} packages")
    sync = [uv, "pip", "sync", "--require-hashes", "--compile-bytecode", LOCK]
    this.run(sync, remedy=remedy, env=SETTINGS)
    # The build backend is in the lock: an isolated build would fetch one without checking its hash.
    project = [uv, "pip", "install", "--no-deps", "--no-build-isolation", "--editable", ROOT]
    this.run(project, remedy=remedy, env=SETTINGS)


def find_uv(this: Step) -> Path:
    """Return the uv on PATH if it is new enough, else set-up's own uv, installed beside the logs."""
    found = shutil.which("uv")
    if found and version_of(found) >= OLDEST_UV:
        return Path(found)
    own = STATE / "uv"
    stamp = own / "overnight.stamp"
    wanted = UV_LOCK.read_text()
    if not (stamp.exists() and stamp.read_text() == wanted and (own / "bin/uv").exists()):
        install_uv(own, this)
        stamp.write_text(wanted)
    return own / "bin/uv"


def version_of(uv: str) -> tuple[int, ...]:
    """Return the version of a uv as numbers; empty if it does not run."""
    try:
        output = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\d+(?:\.\d+)+", output)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def install_uv(own: Path, this: Step) -> None:
    """Install uv, checked against its hashes, into its own virtual environment."""
    try:
        venv(own, this)
    except SetupError:
        # Debian's Python has no ensurepip.
        debian.install(this, "python3-venv")
        venv(own, this)
    pip = [own / "bin/python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "-r", UV_LOCK]
    this.run(pip, remedy="check the network, or install uv yourself so that it is on PATH; then: make setup")


def venv(own: Path, this: Step) -> None:
    """Make a virtual environment."""
    remedy = "install Python's venv module with your system's packages, or uv; then: make setup"
    this.run([sys.executable, "-m", "venv", "--clear", own], remedy=remedy)


def lock() -> None:
    """Write the locks from pyproject.toml: `make lock` keeps versions that still fit, `UPGRADE=--upgrade` does not."""
    with step("lock") as this:
        uv = find_uv(this)
        options = [*sys.argv[2:], "--universal", "--generate-hashes", "--no-header", "--no-emit-index-url", "--quiet"]
        compile_ = [uv, "pip", "compile", *options, "--python-version", "3.11"]
        remedy = f"read {this.log}"
        everything = ["--group", "dev", "--extra", "cluster", "-o", LOCK, "pyproject.toml"]
        this.run([*compile_, *everything], remedy=remedy, env=SETTINGS)
        this.run([*compile_, "--no-annotate", "-o", UV_LOCK, "infra/bootstrap.in"], remedy=remedy, env=SETTINGS)
        NUMPY_LOCK.write_text(pins_of("numpy"))
        this.outcome = f"{', '.join(str(path.relative_to(ROOT)) for path in (LOCK, UV_LOCK, NUMPY_LOCK))} written"


def pins_of(package: str) -> str:
    """Return the lines of the lock that pin a package, with its hashes."""
    return "".join(re.findall(rf"^{package}==(?:.*\\\n)+.*\n", LOCK.read_text(), re.MULTILINE))


if __name__ == "__main__":
    main({"setup": set_up, "lock": lock}[(sys.argv[1:] or ["setup"])[0]])
