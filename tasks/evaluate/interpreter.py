"""Inspect the Python of an image: its version, the platform of its wheels, and its installed packages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from schemas.errors import EnvironmentFault, SpecificationError
from tasks.evaluate.engine import Engine

OLDEST_PYTHON = "3.11"

_PROBE = """
import json, platform, sys
try:
    from importlib.metadata import distributions
    packages = {package.metadata["Name"]: package.version for package in distributions()}
except ImportError:
    packages = {}
print(json.dumps({"version": platform.python_version(), "machine": platform.machine(), "libc": platform.libc_ver(),
                  "packages": packages}))
"""

_GLIBC = (17, 28, *range(31, 41))
"""Minor versions of glibc 2 that uv supports."""


@dataclass(frozen=True)
class Interpreter:
    """The Python of an image.

    Attributes:
        image: Name of the image.
        version: Version of Python.
        machine: Architecture, as reported by `uname`.
        glibc: Version of glibc; empty if the image has another C library.
        packages: Versions of the installed packages, by normalized name.
    """

    image: str
    version: str
    machine: str
    glibc: str
    packages: dict[str, str]

    @property
    def platform(self) -> str:
        """Platform name for uv."""
        if not self.glibc:
            return f"{self.machine}-unknown-linux-musl"
        minor = int(self.glibc.split(".")[1])
        return f"{self.machine}-manylinux_2_{max((known for known in _GLIBC if known <= minor), default=_GLIBC[0])}"

    def has(self, dependencies: Sequence[str]) -> bool:
        """Return whether all dependencies are installed; one with extras, a URL or a marker counts as not installed."""
        return all(map(self._has, map(Requirement, dependencies)))

    def _has(self, requirement: Requirement) -> bool:
        found = self.packages.get(canonicalize_name(requirement.name))
        if found is None or requirement.extras or requirement.url or requirement.marker:
            return False
        return requirement.specifier.contains(found, prereleases=True)

    def require(self, python: str) -> None:
        """Check that the version of Python is suitable.

        Args:
            python: Versions that the problem requires, such as `>=3.12`.

        Raises:
            EnvironmentFault: If Python is too old for any problem.
            SpecificationError: If Python is not a version that this problem requires.
        """
        if Version(self.version) < Version(OLDEST_PYTHON):
            raise EnvironmentFault(
                f"image {self.image} has Python {self.version}, but {OLDEST_PYTHON} or newer is required",
                remedy="Use another image with --image NAME.",
            )
        if not SpecifierSet(python).contains(self.version, prereleases=True):
            raise SpecificationError(
                f"the problem requires Python {python} (requires-python), but image {self.image} has {self.version}",
                remedy="Use an image that has it with --image NAME, or change `requires-python`.",
            )


def examine(engine: Engine, image: str) -> Interpreter:
    """Run the image's Python and return its properties.

    Raises:
        EnvironmentFault: If the image has no Python that runs.
        SandboxUnavailable: If the engine failed.
    """
    output, complaint = engine.run_python(image, _PROBE)
    try:
        found = json.loads(output)
        packages = {str(canonicalize_name(name)): version for name, version in found["packages"].items() if name}
        library, version = found["libc"]
        glibc = version if library == "glibc" else ""
        return Interpreter(image, found["version"], found["machine"], glibc, packages)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (complaint.strip() or output.strip() or "it printed nothing").splitlines()[-1]
        raise EnvironmentFault(
            f"image {image} has no `python3` that runs: {reason}",
            remedy=f"Use an image with Python {OLDEST_PYTHON} or newer: --image NAME",
        ) from error
