"""The Python of an image: its version, what wheels fit it, and the packages that are there already."""

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

OLDEST = "3.11"

_PROBE = """
import json, platform, sys
try:
    from importlib.metadata import distributions
    packages = {one.metadata["Name"]: one.version for one in distributions()}
except ImportError:
    packages = {}
print(json.dumps({"version": platform.python_version(), "machine": platform.machine(), "libc": platform.libc_ver(),
                  "packages": packages}))
"""

_GLIBC = (17, 28, *range(31, 41))
"""Minor versions of glibc 2 that uv knows."""


@dataclass(frozen=True)
class Interpreter:
    """The Python of an image.

    Attributes:
        image: The image's name.
        version: Python's.
        machine: The architecture, as `uname` says it.
        glibc: Version of the C library; empty where it is another.
        packages: Versions of what is there, by normalized name.
    """

    image: str
    version: str
    machine: str
    glibc: str
    packages: dict[str, str]

    @property
    def platform(self) -> str:
        """What uv calls it."""
        if not self.glibc:
            return f"{self.machine}-unknown-linux-musl"
        minor = int(self.glibc.split(".")[1])
        return f"{self.machine}-manylinux_2_{max((one for one in _GLIBC if one <= minor), default=_GLIBC[0])}"

    def has(self, dependencies: Sequence[str]) -> bool:
        """Whether all of them are there; what depends on more than name and version counts as not."""
        return all(map(self._has, map(Requirement, dependencies)))

    def _has(self, one: Requirement) -> bool:
        found = self.packages.get(canonicalize_name(one.name))
        if found is None or one.extras or one.url or one.marker:
            return False
        return one.specifier.contains(found, prereleases=True)

    def require(self, python: str) -> None:
        """Looks that it is of a version that will do.

        Args:
            python: What the problem asks for, such as `>=3.12`.

        Raises:
            EnvironmentFault: If it is too old for any problem.
            SpecificationError: If it is not what this one asks for.
        """
        if Version(self.version) < Version(OLDEST):
            raise EnvironmentFault(
                f"image {self.image} has Python {self.version}, {OLDEST} or newer is needed",
                remedy="Name another with --image NAME.",
            )
        if not SpecifierSet(python).contains(self.version, prereleases=True):
            raise SpecificationError(
                f"the problem asks for Python {python} (requires-python), image {self.image} has {self.version}",
                remedy="Name an image that has it with --image NAME, or change `requires-python`.",
            )


def examine(engine: Engine, image: str) -> Interpreter:
    """Asks the image's Python.

    Raises:
        EnvironmentFault: If there is none.
        SandboxUnavailable: If the engine failed.
    """
    said, complaint = engine.run_python(image, _PROBE)
    try:
        found = json.loads(said)
        packages = {str(canonicalize_name(name)): version for name, version in found["packages"].items() if name}
        library, version = found["libc"]
        glibc = version if library == "glibc" else ""
        return Interpreter(image, found["version"], found["machine"], glibc, packages)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = (complaint.strip() or said.strip() or "it printed nothing").splitlines()[-1]
        raise EnvironmentFault(
            f"image {image} has no `python3` that runs: {why}",
            remedy=f"Name an image with Python {OLDEST} or newer: --image NAME",
        ) from error
