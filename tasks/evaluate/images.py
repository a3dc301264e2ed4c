"""Build images of problems: the sandbox image plus a problem's packages and files, built once, without network."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from overnight.schemas.agent_settings import NODE_MODULES
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.files import File, require_distinct
from overnight.tasks.evaluate import packages
from overnight.tasks.evaluate.engine_images import EngineImages
from overnight.tasks.evaluate.runner.program import IMAGE_FILES, PACKAGES

NAME = "overnight-problem"
"""Repository name of the images; the tag is a hash of their content."""

BASE_LABEL = "overnight.base"
"""Label that holds the name of the sandbox image it was built from; all images of problems have it."""

_COPY_FILES = f"COPY files/ {IMAGE_FILES}/\n"

# Compiled to bytecode, which does not run them: a sandbox cannot write, so every process would compile them again.
_COPY_PACKAGES = f"""\
USER 0:0
COPY packages/ {PACKAGES}/
RUN ["python3", "-I", "-c", "import compileall; compileall.compile_dir('{PACKAGES}', quiet=2, workers=0)"]
"""

_COPY_NPM = f"COPY node_modules/ {NODE_MODULES}/\n"


def with_packages(
    engine: EngineImages,
    base: str,
    dependencies: Dependencies,
    note: Callable[[str], None],
) -> str:
    """Return the name of an image with the packages, for a suitable Python; build it if it does not exist.

    Args:
        engine: EngineImages that has the base image.
        base: Name of the sandbox image.
        dependencies: Packages and versions of Python that the problem requires. Packages that the base has are not
            added.
        note: Called with a message before each slow step.

    Raises:
        SpecificationError: If no such packages exist, or the base's Python is not suitable.
        EnvironmentFault: If the base has no Python, or the packages cannot be fetched.
        SandboxUnavailable: If the engine does not answer, lacks the base image, or cannot build the image.
    """
    base_id = engine.image_id(base)
    # The name depends on the requirements and the index, not on the versions found, so equal requirements get the
    # versions that were found the first time.
    name = _name([base_id, _COPY_PACKAGES, dependencies.python, packages.index_fingerprint(), *dependencies.packages])
    if engine.has_image(name):
        return name
    interpreter = packages.examine(engine, base)
    interpreter.require(dependencies.python)
    if interpreter.has(dependencies.packages):
        _build(engine, name, base, "", lambda _: None, {BASE_LABEL: base})
        return name
    note(
        f"fetching {', '.join(dependencies.packages)} for the sandbox's Python {interpreter.version}, once, "
        f"{packages.describe_indexes()}"
    )
    lock = packages.resolve(dependencies.packages, interpreter)
    locked = _name([base_id, _COPY_PACKAGES, lock])
    if not engine.has_image(locked):
        _build_with_packages(engine, locked, base, dependencies, lock, interpreter, note)
    engine.tag(locked, name)
    return name


def _build_with_packages(
    engine: EngineImages,
    name: str,
    base: str,
    dependencies: Dependencies,
    lock: str,
    interpreter: packages.Interpreter,
    note: Callable[[str], None],
) -> None:
    """Fetch the wheels of a lock and build an image with them."""
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        packages.fetch(dependencies.packages, lock, interpreter, Path(folder))
        note("building an image with them, once")
        build(engine, name, base, _COPY_PACKAGES, folder, "packages", {BASE_LABEL: base})


def with_npm(engine: EngineImages, base: str, wanted: Sequence[str], note: Callable[[str], None]) -> str:
    """Return the name of an image with packages of npm, whose scripts are not run; build it if it does not exist.

    Raises:
        EnvironmentFault: If they cannot be fetched.
        SandboxUnavailable: If the engine does not answer, lacks the base image, or cannot build the image.
    """
    name = _name([engine.image_id(base), _COPY_NPM, *wanted])
    if engine.has_image(name):
        return name
    note(f"fetching {', '.join(wanted)} from npm, once")
    machine = packages.examine(engine, base).machine
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        packages.fetch_npm(wanted, machine, Path(folder))
        note("building an image with them, once")
        build(engine, name, base, _COPY_NPM, f"{folder}/node_modules", "node_modules", {BASE_LABEL: base})
    return name


def with_files(engine: EngineImages, base: str, files: Sequence[File]) -> str:
    """Return the name of an image with the files; build it if it does not exist.

    Raises:
        SpecificationError: If the files cannot be in one directory.
        SandboxUnavailable: If the engine does not answer, lacks the base image, or cannot build the image.
    """
    require_distinct(files)
    name = _name([engine.image_id(base), _COPY_FILES, *(f"{file.hash} {file.path}" for file in files)])
    if not engine.has_image(name):
        _build(engine, name, base, _COPY_FILES, lambda archive: _add_files(archive, files), {BASE_LABEL: base})
    return name


def build(
    engine: EngineImages, name: str, base: str, recipe: str, folder: str, copied_as: str, labels: dict[str, str]
) -> None:
    """Build an image on a base by a recipe, the lines of a Dockerfile after the first, which copies a folder."""
    _build(engine, name, base, recipe, lambda archive: archive.add(folder, copied_as, filter=_owned_by_root), labels)


def _name(content: Sequence[str]) -> str:
    """Return the name of an image with this content; JSON keeps different lists of parts distinct."""
    return f"{NAME}:{hashlib.sha256(json.dumps(list(content)).encode()).hexdigest()}"


def _build(
    engine: EngineImages,
    name: str,
    base: str,
    recipe: str,
    fill: Callable[[tarfile.TarFile], None],
    labels: dict[str, str],
) -> None:
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as archive:
            _add(archive, "Dockerfile", f"FROM {base}\n{recipe}".encode())
            fill(archive)
        context.seek(0)
        engine.build(context, name, labels)


def _add_files(archive: tarfile.TarFile, files: Sequence[File]) -> None:
    """Add the files, readable and executable by everybody; the sandbox's file system is read-only."""
    for file in files:
        _add(archive, str(PurePosixPath("files", file.path)), file.content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    archive.addfile(member, io.BytesIO(content))


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o755 if member.isdir() else 0o644
    return member
