"""Fetch packages for an image as wheels, and unpack them on this machine; no code of a package runs here.

uv resolves them for the Python of the image, not for this process's. Only this module imports `uv`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import EnvironmentFault, OvernightError, SpecificationError
from tasks.evaluate import indexes
from tasks.evaluate.interpreter import Interpreter

_NO_SOLUTION = 1
"""Exit code of uv if the packages do not exist or do not fit; 2 is any other failure."""

_STDERR_CHARS = 2000
"""Maximum length of uv's message in an error, characters."""


def resolve(dependencies: Sequence[str], interpreter: Interpreter) -> str:
    """Resolve the wheels that the dependencies need; return them with versions and hashes, as a `requirements.txt`.

    Raises:
        SpecificationError: If no suitable wheels exist.
        EnvironmentFault: If the index cannot be reached.
    """
    wanted = "".join(f"{dependency}\n" for dependency in dependencies)
    flags = ["--generate-hashes", "--no-header", "--no-annotate", "--no-strip-markers", "-"]
    return _uv("compile", flags, dependencies, interpreter, wanted)


def fetch(dependencies: Sequence[str], lock: str, interpreter: Interpreter, folder: Path) -> None:
    """Download the wheels of a lock and unpack them into a directory; each must have one of the hashes in the lock.

    Args:
        dependencies: Dependencies that the lock was resolved from, for error messages.
        lock: Lock returned by `resolve`.
        interpreter: Python of the image.
        folder: Target directory.

    Raises:
        SpecificationError: If the wheels no longer exist, or have changed.
        EnvironmentFault: If the wheels cannot be fetched.
    """
    _uv("install", ["--require-hashes", "--target", str(folder), "-r", "-"], dependencies, interpreter, lock)


def _uv(verb: str, flags: Sequence[str], dependencies: Sequence[str], interpreter: Interpreter, stdin: str) -> str:
    """Run uv in an empty directory, where it finds no settings of a problem, and return its standard output."""
    from uv import find_uv_bin

    command = [find_uv_bin(), "pip", verb, "--only-binary", ":all:", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--python-version", interpreter.version]
    command += ["--python-platform", interpreter.platform, *indexes.flags(), *flags]
    with tempfile.TemporaryDirectory(prefix="overnight-") as neutral:
        done = subprocess.run(
            command, cwd=neutral, env=indexes.environment(), input=stdin, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise _error(dependencies, interpreter, done.returncode, done.stderr)
    return done.stdout


def _error(dependencies: Sequence[str], interpreter: Interpreter, code: int, stderr: str) -> OvernightError:
    reason = stderr[stderr.find("error: ") :].removeprefix("error: ").strip()[-_STDERR_CHARS:]
    message = (
        f"cannot get wheels of {', '.join(dependencies)} for Python {interpreter.version} of image "
        f"{interpreter.image} ({interpreter.platform}), {indexes.describe()}:\n{reason}"
    )
    if code == _NO_SOLUTION:
        return SpecificationError(
            message,
            remedy="Correct `dependencies`, set where to look for wheels "
            "(UV_FIND_LINKS=FOLDER, UV_DEFAULT_INDEX=URL, or pip's settings), or use an image that has the packages: "
            "--set sandbox.image=NAME",
        )
    return EnvironmentFault(
        message,
        remedy="Check the network, or set where to look for wheels (UV_FIND_LINKS=FOLDER, UV_DEFAULT_INDEX=URL, or "
        "pip's settings), or use an image that has the packages: --set sandbox.image=NAME",
    )
