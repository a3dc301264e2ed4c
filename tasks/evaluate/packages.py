"""Packages for an image, fetched on this machine as wheels and unpacked: nothing of a package runs here.

uv finds what fits the Python of the image, which is not the one that asks. The only module that imports `uv`.
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
"""uv's exit code where what is asked for does not exist or does not fit; 2 is any other failure."""

_COMPLAINT = 2000
"""Characters of what uv said that are shown."""


def resolve(dependencies: Sequence[str], interpreter: Interpreter) -> str:
    """Look up which wheels the dependencies need, and return them with versions and hashes, as `requirements.txt`.

    Raises:
        SpecificationError: If there are no wheels that fit.
        EnvironmentFault: If they cannot be looked up.
    """
    wanted = "".join(f"{one}\n" for one in dependencies)
    flags = ["--generate-hashes", "--no-header", "--no-annotate", "--no-strip-markers", "-"]
    return _uv("compile", flags, dependencies, interpreter, wanted)


def fetch(dependencies: Sequence[str], lock: str, interpreter: Interpreter, folder: Path) -> None:
    """Download the wheels of a lock and unpack them into a folder; each must have one of the hashes that it names.

    Args:
        dependencies: What the lock was made from, for errors.
        lock: As `resolve` returns it.
        interpreter: The Python that they are for.
        folder: Where to.

    Raises:
        SpecificationError: If there are no such wheels any more, or they are others by now.
        EnvironmentFault: If they cannot be fetched.
    """
    _uv("install", ["--require-hashes", "--target", str(folder), "-r", "-"], dependencies, interpreter, lock)


def _uv(verb: str, flags: Sequence[str], dependencies: Sequence[str], interpreter: Interpreter, given: str) -> str:
    """Run uv away from any folder of a problem, so that it finds no settings there, and return what it prints."""
    from uv import find_uv_bin

    command = [find_uv_bin(), "pip", verb, "--only-binary", ":all:", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--python-version", interpreter.version]
    command += ["--python-platform", interpreter.platform, *indexes.flags(), *flags]
    with tempfile.TemporaryDirectory(prefix="overnight-") as neutral:
        done = subprocess.run(
            command, cwd=neutral, env=indexes.environment(), input=given, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise _fault(dependencies, interpreter, done.returncode, done.stderr)
    return done.stdout


def _fault(dependencies: Sequence[str], interpreter: Interpreter, code: int, complaint: str) -> OvernightError:
    said = complaint[complaint.find("error: ") :].removeprefix("error: ").strip()[-_COMPLAINT:]
    message = (
        f"{', '.join(dependencies)} cannot be had as wheels for Python {interpreter.version} of image "
        f"{interpreter.image} ({interpreter.platform}), {indexes.describe()}:\n{said}"
    )
    if code == _NO_SOLUTION:
        return SpecificationError(
            message,
            remedy="Correct `dependencies` in the `# /// script` block, say where the wheels are "
            "(UV_FIND_LINKS=FOLDER, UV_DEFAULT_INDEX=URL, or pip's settings), or name an image that has them: "
            "--set sandbox.image=NAME",
        )
    return EnvironmentFault(
        message,
        remedy="Look at the network, or say where the wheels are: UV_FIND_LINKS=FOLDER, UV_DEFAULT_INDEX=URL, or pip's "
        "settings; or name an image that has them: --set sandbox.image=NAME",
    )
