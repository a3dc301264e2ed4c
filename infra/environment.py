"""The environment: uv, and with it `.venv` exactly as the lock says, with this project in it.

Standard library only; run with any Python from 3.11 on, which becomes the environment's: `infra/setup.sh` finds one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import debian
from steps import ROOT, STATE, Step, StopError, main, step

VENV = ROOT / ".venv"
LOCK = ROOT / "infra/requirements.lock"
UV_LOCK = ROOT / "infra/bootstrap.lock"
STAMP = VENV / "overnight.stamp"
"""Holds the hash of what the environment was made from; written last, so a broken one has none."""

OLDEST_UV = (0, 8)
"""A uv on PATH that is older is not used: it may not know the options below."""

SETTINGS = {
    "UV_PYTHON_DOWNLOADS": "never",  # the Python is this machine's
    "UV_SYSTEM_CERTS": "true",  # where a network re-signs connections, only the system knows the certificate
    "UV_NATIVE_TLS": "true",  # the same, for a uv of before that name
    "VIRTUAL_ENV": str(VENV),
}


def set_up() -> None:
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
    """A hash of what the environment is made from. The folder counts: it is installed in place."""
    made_from = [LOCK.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), bytes(ROOT)]
    return hashlib.sha256(b"\0".join(made_from)).hexdigest()


def create(uv: Path, this: Step) -> None:
    """Make `.venv` hold what the lock says, no more and no less, and this project in place."""
    remedy = f"check the network, then: make setup    (details: {this.log})"
    if not (VENV / "bin/python").exists():
        this.run([uv, "venv", "--clear", "--python", sys.executable, VENV], remedy=remedy, env=SETTINGS)
    sync = [uv, "pip", "sync", "--require-hashes", "--compile-bytecode", LOCK]
    this.run(sync, remedy=remedy, env=SETTINGS)
    # The build backend is in the lock: an isolated build would fetch one that no hash vouches for.
    project = [uv, "pip", "install", "--no-deps", "--no-build-isolation", "--editable", ROOT]
    this.run(project, remedy=remedy, env=SETTINGS)


def find_uv(this: Step) -> Path:
    """The uv on PATH where it is new enough, else one of our own beside the logs."""
    found = shutil.which("uv")
    if found and version_of(found) >= OLDEST_UV:
        return Path(found)
    own = STATE / "uv"
    mark = own / "overnight.stamp"
    wanted = UV_LOCK.read_text()
    if not (mark.exists() and mark.read_text() == wanted and (own / "bin/uv").exists()):
        install_uv(own, this)
        mark.write_text(wanted)
    return own / "bin/uv"


def version_of(uv: str) -> tuple[int, ...]:
    """Its version as numbers; empty where it does not run."""
    try:
        said = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\d+(?:\.\d+)+", said)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def install_uv(own: Path, this: Step) -> None:
    """Install uv, checked against its hashes, into a virtual environment of its own."""
    try:
        venv(own, this)
    except StopError:
        # Debian leaves ensurepip out of its Python.
        debian.install(this, "python3-venv")
        venv(own, this)
    pip = [own / "bin/python", "-m", "pip", "install", "--require-hashes", "--only-binary", ":all:", "-r", UV_LOCK]
    this.run(pip, remedy="check the network, or install uv yourself so that it is on PATH; then: make setup")


def venv(own: Path, this: Step) -> None:
    remedy = "install Python's venv module with your system's packages, or uv; then: make setup"
    this.run([sys.executable, "-m", "venv", "--clear", own], remedy=remedy)


def lock() -> None:
    """Write both locks from pyproject.toml, keeping what still fits: `make lock`, `make lock UPGRADE=--upgrade`."""
    with step("lock") as this:
        uv = find_uv(this)
        options = [*sys.argv[2:], "--universal", "--generate-hashes", "--no-header", "--no-emit-index-url", "--quiet"]
        compile_ = [uv, "pip", "compile", *options, "--python-version", "3.11"]
        remedy = f"read {this.log}"
        this.run([*compile_, "--group", "dev", "-o", LOCK, "pyproject.toml"], remedy=remedy, env=SETTINGS)
        this.run([*compile_, "--no-annotate", "-o", UV_LOCK, "infra/bootstrap.in"], remedy=remedy, env=SETTINGS)
        this.outcome = f"{LOCK.relative_to(ROOT)} and {UV_LOCK.relative_to(ROOT)} written"


if __name__ == "__main__":
    main({"setup": set_up, "lock": lock}[(sys.argv[1:] or ["setup"])[0]])
