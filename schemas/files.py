"""Read the files of a problem that its sandbox holds, read-only: data, helper modules, scoring scripts."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from schemas import problem_folder
from schemas.errors import SpecificationError

MAX_BYTES = 256 * 2**20
"""Limit on all files of a problem together, bytes; every run stores a copy of them."""

MAX_FILES = 10_000
"""Limit on the number of files of a problem."""

_MAX_PATH_BYTES, _MAX_NAME_BYTES = 1024, 255

_REMEDY = "`files` names files, folders or patterns such as *.csv, relative to the folder of the specification."


@dataclass(frozen=True)
class File:
    """A file of a problem.

    Attributes:
        path: Path relative to the specification's folder, with slashes and in its shortest form, so that the file stays
            inside of any folder that it is written to.
        content: Content of the file.

    Raises:
        SpecificationError: If the path has another form.
    """

    path: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _is_safe(self.path):
            raise SpecificationError(
                f"files: {self.path[:_MAX_NAME_BYTES]!r} is not a path inside of a problem's folder",
                remedy="Rename the file: its path must be relative, without `..`, and of printable characters.",
            )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def _is_safe(path: str) -> bool:
    names = path.split("/")
    return (
        path.isprintable()
        and "\\" not in path
        and len(path.encode()) <= _MAX_PATH_BYTES
        and all(name not in ("", ".", "..") and len(name.encode()) <= _MAX_NAME_BYTES for name in names)
    )


def require_distinct(files: Sequence[File]) -> None:
    """Check that files can be written to one folder.

    Raises:
        SpecificationError: If two files have the same path, one is a folder of another, or there are too many.
    """
    _require_few(len(files))
    paths = [file.path for file in files]
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    for path, count in Counter(paths).items():
        if count > 1 or path in folders:
            fault = "is there twice" if count > 1 else "is a file and a folder"
            raise SpecificationError(f"files: {path!r} {fault}", remedy="Rename one of the two.")


def _require_few(count: int) -> None:
    if count > MAX_FILES:
        raise SpecificationError(f"files: got {count} files, expected at most {MAX_FILES}", remedy=_REMEDY)


def read_files(folder: Path, patterns: Sequence[str]) -> tuple[File, ...]:
    """Read the files that patterns name, sorted by path.

    Args:
        folder: Folder of the specification.
        patterns: Names of files and folders, or patterns of both; a folder stands for all its visible files.

    Raises:
        SpecificationError: If a pattern names nothing, or something outside of the folder, or the files are too large.
    """
    folder = folder.resolve()
    found = dict.fromkeys(name for pattern in patterns for name in _matching_names(pattern, folder))
    _require_few(len(found))
    sizes = {name: (folder / name).stat().st_size for name in found}
    if sum(sizes.values()) > MAX_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise SpecificationError(
            f"files: {sum(sizes.values()) / 2**20:.0f} MiB together, expected at most {MAX_BYTES // 2**20} MiB; "
            f"the largest is {largest} with {sizes[largest] / 2**20:.0f} MiB",
            remedy="Leave out files that programs do not need, or add them to your own image: --set sandbox.image=NAME",
        )
    return tuple(File(name, problem_folder.read_bytes(folder, name, max_bytes=sizes[name])) for name in sorted(found))


def changed_files(folder: Path, files: Iterable[File]) -> list[str]:
    """Return the paths of files that are missing from the folder or have another content there."""
    return [file.path for file in files if not _is_unchanged(folder, file)]


def _is_unchanged(folder: Path, file: File) -> bool:
    try:
        return problem_folder.read_bytes(folder, file.path, max_bytes=len(file.content)) == file.content
    except SpecificationError:
        return False


def _matching_names(pattern: str, folder: Path) -> Iterator[str]:
    """Yield the paths of the files that one pattern names, relative to the folder."""
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or not Path(pattern).parts or "\0" in pattern:
        raise SpecificationError(f"files: {pattern!r} is not below {folder}", remedy=_REMEDY)
    exact = folder / pattern
    paths = [exact] if os.path.lexists(exact) else problem_folder.matching(folder, pattern)
    names = [name for path in paths for name in _files_at(path, folder)]
    if not names:
        raise SpecificationError(f"files: no {pattern!r} in {folder}", remedy=_REMEDY)
    yield from names


def _files_at(path: Path, folder: Path) -> Iterator[str]:
    """Yield the path of a file, or of all files in a folder that are neither hidden nor compiled Python."""
    name = path.relative_to(folder).as_posix()
    if not path.is_dir():
        if path.is_file() or path.is_symlink():
            yield from _readable(name, folder)
        return
    if not path.resolve().is_relative_to(folder):
        raise SpecificationError(f"files: {name!r} is a link to {path.resolve()}, outside of {folder}", remedy=_REMEDY)
    for below in problem_folder.matching(path.resolve(), "**/*"):
        parts = below.relative_to(path.resolve()).parts
        if below.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield from _readable("/".join((name, *parts) if name != "." else parts), folder)


def _readable(name: str, folder: Path) -> Iterator[str]:
    if not name.isprintable():
        raise SpecificationError(f"files: the name {name!r} has unprintable characters", remedy="Rename the file.")
    if problem_folder.locate(folder, name) is not None:
        yield name
