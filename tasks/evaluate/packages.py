"""Fetch packages for an image as wheels, and unpack them on this machine; no code of a package runs here.

uv resolves them for the Python of the image, not for this process's, and looks for wheels where its own variables say.
Only this module imports `uv`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from overnight.schemas.errors import EnvironmentFault, OvernightError, SpecificationError
from overnight.tasks.evaluate.engine_images import EngineImages

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

_NO_SOLUTION = 1
"""Exit code of uv if the packages do not exist or do not fit; 2 is any other failure."""

_NPM_CPUS = {"x86_64": "x64", "aarch64": "arm64"}
"""npm's names of architectures."""

_STDERR_CHARS = 2000
"""Maximum length of uv's message in an error, characters."""

_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
"""Variables that name indexes."""

_DECIDING = (
    *(*_INDEXES, "UV_FIND_LINKS", "UV_NO_INDEX"),
    *("UV_INDEX_STRATEGY", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_EXCLUDE_NEWER"),
    *("UV_PRERELEASE", "UV_RESOLUTION"),
)
"""Variables that determine which wheels are found."""

_PATHS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_OVERRIDE")
"""Variables whose value may be a path relative to the working directory."""


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


def examine(engine: EngineImages, image: str) -> Interpreter:
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


def fetch_npm(wanted: Sequence[str], machine: str, folder: Path) -> None:
    """Fetch packages of npm into `node_modules` of a directory, for Linux; no script of a package runs.

    Raises:
        EnvironmentFault: If there is no `npm`, or it fails.
    """
    command = ["npm", "install", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    command += ["--os=linux", f"--cpu={_NPM_CPUS.get(machine, machine)}", "--", *wanted]
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise EnvironmentFault(
            f"npm cannot be run: {error.strerror}",
            remedy="Install npm, or name an image that has the agent: `image` of [agents.NAME]",
        ) from error
    if done.returncode:
        raise EnvironmentFault(
            f"npm cannot fetch {', '.join(wanted)}:\n{done.stderr.strip()[-_STDERR_CHARS:]}",
            remedy="Check the network and npm's settings, or name an image that has the agent.",
        )


def _uv(verb: str, flags: Sequence[str], dependencies: Sequence[str], interpreter: Interpreter, stdin: str) -> str:
    """Run uv in an empty directory, where it finds no settings of a problem, and return its standard output."""
    from uv import find_uv_bin

    command = [find_uv_bin(), "pip", verb, "--only-binary", ":all:", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--python-version", interpreter.version]
    command += ["--python-platform", interpreter.platform, *uv_flags(), *flags]
    with tempfile.TemporaryDirectory(prefix="overnight-") as neutral:
        done = subprocess.run(
            command, cwd=neutral, env=uv_environment(), input=stdin, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise _error(dependencies, interpreter, done.returncode, done.stderr)
    return done.stdout


def _error(dependencies: Sequence[str], interpreter: Interpreter, code: int, stderr: str) -> OvernightError:
    reason = stderr[stderr.find("error: ") :].removeprefix("error: ").strip()[-_STDERR_CHARS:]
    message = (
        f"cannot get wheels of {', '.join(dependencies)} for Python {interpreter.version} of image "
        f"{interpreter.image} ({interpreter.platform}), {describe_indexes()}:\n{reason}"
    )
    if code == _NO_SOLUTION:
        return SpecificationError(
            message,
            remedy="Correct `dependencies`, set where to look for wheels "
            "(UV_FIND_LINKS=FOLDER or UV_DEFAULT_INDEX=URL; pip's settings are not read), or use an image that has the "
            "packages: --set sandbox.image=NAME",
        )
    return EnvironmentFault(
        message,
        remedy="Check the network, or set where to look for wheels (UV_FIND_LINKS=FOLDER or UV_DEFAULT_INDEX=URL; "
        "pip's settings are not read), or use an image that has the packages: --set sandbox.image=NAME",
    )


def uv_environment() -> dict[str, str]:
    """Return the environment for uv, which may run in another working directory."""
    variables = dict(os.environ)
    # On a network whose proxy re-signs connections, only the system's store has the certificate.
    variables.setdefault("UV_SYSTEM_CERTS", "true")
    return variables | {name: _absolute(variables[name]) for name in _PATHS if variables.get(name)}


def _absolute(value: str) -> str:
    """Make existing paths absolute; leave addresses and other paths unchanged."""
    parts = value.split(",")
    return ",".join(str(Path(part).absolute()) if part and Path(part).exists() else part for part in parts)


def uv_flags() -> list[str]:
    """Return uv's flags; without UV_CONFIG_FILE in the environment, they make uv ignore its configuration files."""
    without_files = [] if os.environ.get("UV_CONFIG_FILE") else ["--no-config"]
    return without_files + (["--no-index"] if _is_without_index() else [])  # of which uv has no variable


def index_fingerprint() -> str:
    """Return a SHA-256 of all settings that determine where wheels are looked for and which ones are chosen."""
    variables = uv_environment()
    settings = {name: variables[name] for name in _DECIDING if variables.get(name)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def describe_indexes() -> str:
    """Describe where wheels are looked for, without addresses, which may contain a password."""
    variables = uv_environment()
    places = [f"in {variables['UV_FIND_LINKS']}"] if variables.get("UV_FIND_LINKS") else []
    if not _is_without_index():
        named = any(variables.get(name) for name in _INDEXES)
        places.append("at the index of your settings" if named else "at the usual index")
    return f"looked for {' and '.join(places)}" if places else "but no index or folder to look in is set"


def _is_without_index() -> bool:
    return os.environ.get("UV_NO_INDEX", "").lower() in {"1", "true", "yes", "on"}
