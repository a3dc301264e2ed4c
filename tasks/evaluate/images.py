"""Images of problems: the sandbox image with what a problem adds to it, made once, by copying, without network."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import IO

from schemas.files import File
from tasks.evaluate.engine import Engine
from tasks.evaluate.runner.additions import FILES

NAME = "overnight-problem"
"""The images' repository; the tag is a hash of what is in them."""

BASE_LABEL = "overnight.base"
"""The sandbox image that it was made from; by this label all of them are found."""

_COPY_FILES = f"COPY files/ {FILES}/\n"


def with_files(engine: Engine, base: str, files: Sequence[File]) -> str:
    """Name of an image that holds the files; it is made if there is none yet.

    Raises:
        SandboxUnavailable: If the engine does not answer, lacks the base, or cannot make it.
    """
    content = [engine.require_image(base), _COPY_FILES, *(f"{file.hash} {file.path}" for file in files)]
    name = _name(content)
    if not engine.has_image(name):
        with tempfile.TemporaryFile() as context:
            _write_context(context, f"FROM {base}\n{_COPY_FILES}", files)
            engine.build(context, name, {BASE_LABEL: base})
    return name


def _name(content: Sequence[str]) -> str:
    return f"{NAME}:{hashlib.sha256('|'.join(content).encode()).hexdigest()[:16]}"


def _write_context(context: IO[bytes], recipe: str, files: Sequence[File]) -> None:
    """The archive from which an image is made; every file may be read and run, none written."""
    with tarfile.open(fileobj=context, mode="w") as archive:
        _add(archive, "Dockerfile", recipe.encode())
        for file in files:
            _add(archive, str(PurePosixPath("files", file.path)), file.content)
    context.seek(0)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o755
    archive.addfile(member, io.BytesIO(content))
