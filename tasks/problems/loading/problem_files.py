"""Read the files of a problem from its folder: data, helper modules, scoring scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from schemas.errors import SpecificationError
from schemas.files import FILES_REMEDY, File, require_few
from tasks.program import problem_folder

MAX_BYTES = 256 * 2**20
"""Limit on all files of a problem together, bytes; every run stores a copy of them."""


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
    require_few(len(found))
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
        raise SpecificationError(f"files: {pattern!r} is not below {folder}", remedy=FILES_REMEDY)
    exact = folder / pattern
    paths = [exact] if os.path.lexists(exact) else problem_folder.matching(folder, pattern)
    names = [name for path in paths for name in _files_at(path, folder)]
    if not names:
        raise SpecificationError(f"files: no {pattern!r} in {folder}", remedy=FILES_REMEDY)
    yield from names


def _files_at(path: Path, folder: Path) -> Iterator[str]:
    """Yield the path of a file, or of all files in a folder that are neither hidden nor compiled Python."""
    name = path.relative_to(folder).as_posix()
    if not path.is_dir():
        if path.is_file() or path.is_symlink():
            yield from _readable(name, folder)
        return
    if not path.resolve().is_relative_to(folder):
        raise SpecificationError(
            f"files: {name!r} is a link to {path.resolve()}, outside of {folder}", remedy=FILES_REMEDY
        )
    for below in problem_folder.matching(path.resolve(), "**/*"):
        parts = below.relative_to(path.resolve()).parts
        if below.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield from _readable("/".join((name, *parts) if name != "." else parts), folder)


def _readable(name: str, folder: Path) -> Iterator[str]:
    if not name.isprintable():
        raise SpecificationError(f"files: the name {name!r} has unprintable characters", remedy="Rename the file.")
    if problem_folder.locate(folder, name) is not None:
        yield name
