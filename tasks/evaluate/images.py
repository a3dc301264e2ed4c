"""Images of problems: the sandbox image with what a problem adds to it, made once, by copying, without network."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from schemas.dependencies import Dependencies
from schemas.files import File, require_distinct
from tasks.evaluate import indexes, packages
from tasks.evaluate.engine import Engine
from tasks.evaluate.interpreter import Interpreter, examine
from tasks.evaluate.runner.additions import FILES, PACKAGES

NAME = "overnight-problem"
"""The images' repository; the tag is a hash of what is in them."""

BASE_LABEL = "overnight.base"
"""The sandbox image that it was made from; by this label all of them are found."""

_COPY_FILES = f"COPY files/ {FILES}/\n"

# Compiled, which only reads them: in a sandbox nothing can be written, and every process would do it again.
_COPY_PACKAGES = f"""\
USER 0:0
COPY packages/ {PACKAGES}/
RUN ["python3", "-I", "-c", "import compileall; compileall.compile_dir('{PACKAGES}', quiet=2, workers=0)"]
"""


def with_packages(
    engine: Engine,
    base: str,
    needs: Dependencies,
    note: Callable[[str], None] = lambda _: None,
) -> str:
    """Name of an image that has the packages, on a Python that will do; it is made if there is none yet.

    Args:
        engine: That has the base.
        base: The sandbox image.
        needs: The packages and the versions of Python that will do. Where the base has them, nothing is added.
        note: Is told what takes long.

    Raises:
        SpecificationError: If there are no such packages, or the base's Python will not do.
        EnvironmentFault: If the base has no Python, or packages cannot be fetched.
        SandboxUnavailable: If the engine does not answer, lacks the base, or cannot make it.
    """
    base_id = engine.require_image(base)
    # What was asked for, of which index: who asks for the same again gets what was found then.
    name = _name([base_id, _COPY_PACKAGES, needs.python, indexes.fingerprint(), *needs.packages])
    if engine.has_image(name):
        return name
    interpreter = examine(engine, base)
    interpreter.require(needs.python)
    if interpreter.has(needs.packages):
        _build(engine, name, base, "", lambda _: None)
        return name
    note(
        f"fetching {', '.join(needs.packages)} for the sandbox's Python {interpreter.version}, once, "
        f"{indexes.describe()}"
    )
    lock = packages.resolve(needs.packages, interpreter)
    locked = _name([base_id, _COPY_PACKAGES, lock])
    if not engine.has_image(locked):
        _build_with_packages(engine, locked, base, needs, lock, interpreter, note)
    engine.tag(locked, name)
    return name


def _build_with_packages(
    engine: Engine,
    name: str,
    base: str,
    needs: Dependencies,
    lock: str,
    interpreter: Interpreter,
    note: Callable[[str], None],
) -> None:
    """Fetch the wheels of a lock and make an image with them."""
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder:
        packages.fetch(needs.packages, lock, interpreter, Path(folder))
        note("making an image with them, once")
        _build(engine, name, base, _COPY_PACKAGES, lambda archive: archive.add(folder, "packages", filter=_as_root_s))


def with_files(engine: Engine, base: str, files: Sequence[File]) -> str:
    """Name of an image that holds the files; it is made if there is none yet.

    Raises:
        SpecificationError: If the files cannot lie in one folder.
        SandboxUnavailable: If the engine does not answer, lacks the base, or cannot make it.
    """
    require_distinct(files)
    name = _name([engine.require_image(base), _COPY_FILES, *(f"{file.hash} {file.path}" for file in files)])
    if not engine.has_image(name):
        _build(engine, name, base, _COPY_FILES, lambda archive: _add_files(archive, files))
    return name


def _name(content: Sequence[str]) -> str:
    """Return the name of an image with this content; written so that no other list of parts reads the same."""
    return f"{NAME}:{hashlib.sha256(json.dumps(list(content)).encode()).hexdigest()}"


def _build(engine: Engine, name: str, base: str, recipe: str, fill: Callable[[tarfile.TarFile], None]) -> None:
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as archive:
            _add(archive, "Dockerfile", f"FROM {base}\n{recipe}".encode())
            fill(archive)
        context.seek(0)
        engine.build(context, name, {BASE_LABEL: base})


def _add_files(archive: tarfile.TarFile, files: Sequence[File]) -> None:
    """Every file may be read and run by all, and written by none."""
    for file in files:
        _add(archive, str(PurePosixPath("files", file.path)), file.content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    archive.addfile(member, io.BytesIO(content))


def _as_root_s(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode |= 0o755 if member.isdir() else 0o644
    return member
