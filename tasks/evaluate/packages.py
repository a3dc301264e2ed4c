"""Packages for an image, fetched on this machine as wheels and unpacked: nothing of a package runs here.

uv finds what fits the Python of the image, which is not the one that asks. The only module that imports `uv`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import EnvironmentFault, OvernightError, SpecificationError
from tasks.evaluate import indexes
from tasks.evaluate.interpreter import Interpreter

_NO_SOLUTION = 1
"""uv's exit code where what is asked for does not exist or does not fit; 2 is any other failure."""

_COMPLAINT = 2000
"""Characters of what uv said that are shown."""


def fetch(dependencies: Sequence[str], interpreter: Interpreter, folder: Path) -> None:
    """Unpacks the wheels of the dependencies, and of what they depend on, into a folder.

    Raises:
        SpecificationError: If there are no wheels that fit.
        EnvironmentFault: If they cannot be fetched.
    """
    from uv import find_uv_bin

    command = [find_uv_bin(), "pip", "install", "--only-binary", ":all:", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--python-version", interpreter.version]
    command += ["--python-platform", interpreter.platform, "--target", str(folder)]
    command += [*indexes.flags(), "--", *dependencies]
    done = subprocess.run(
        command, env=indexes.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise _fault(dependencies, interpreter, done.returncode, done.stderr)


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
