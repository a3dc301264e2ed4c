"""Read the files of a problem from its folder: inputs, data, helper modules, scoring scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import FILES_REMEDY, File, require_few
from overnight.schemas.settings import Settings
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_json

MAX_BYTES = 256 * 2**20
"""Limit on all files of a problem together, bytes; every run stores a copy of them."""

SPLITS = ("inputs", "validation", "held_out")
"""Settings that hold inputs."""

MAX_INPUT_BYTES = 32 * 2**20
"""Limit on all input files of a problem together, bytes; every run stores a copy of their content."""

MAX_INPUTS = 10_000
"""Limit on the inputs of a split: a program is scored on each by itself, and every program stores its scores."""


def read_files(folder: Path, patterns: Sequence[str]) -> tuple[File, ...]:
    """Read the files that patterns name, sorted by path; a folder stands for all its visible files.

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


def names_file(item: Any) -> bool:
    return isinstance(item, str) and item.endswith(".json")


def with_input_files(settings: Settings, folder: Path, splits: Sequence[str] = SPLITS) -> Settings:
    """Return settings in which the names of input files are replaced by their content, so that a run stores it.

    Raises:
        SpecificationError: If there are too many inputs, or a file is missing, outside of the folder, too large, or not
            JSON.
    """
    for split in splits:
        if (count := len(getattr(settings, split))) > MAX_INPUTS:
            raise SpecificationError(
                f"{split}: {count:,} inputs, expected at most {MAX_INPUTS:,}",
                remedy="Let one input stand for many, such as a number of cases that the scoring draws with a seed.",
            )
    remaining = MAX_INPUT_BYTES

    def content(item: Any) -> Any:
        nonlocal remaining
        if not names_file(item):
            return item
        text = _read_input(folder, item, remaining)
        remaining -= len(text)
        try:
            return parse_json(text)
        except ValueError as error:
            raise SpecificationError(f"{folder / item}: not valid JSON: {error}", remedy="Correct the file.") from error

    return settings.model_copy(update={split: tuple(map(content, getattr(settings, split))) for split in splits})


def _read_input(folder: Path, name: str, max_bytes: int) -> bytes:
    try:
        return problem_folder.read_bytes(folder, name, max_bytes=max_bytes)
    except SpecificationError as error:
        raise SpecificationError(
            f"input file {name!r}: {error.message}",
            remedy="Paths are relative to the specification's folder. Put large data into `files`, where programs "
            "can read it.",
        ) from error
