"""A problem as plain data, and its restoration from what a run stores; `tasks/problems/loading/` loads it from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

from schemas.dependencies import Dependencies, read_dependencies
from schemas.errors import SpecificationError
from schemas.evolving_files import restore_evolving_files
from schemas.files import File, require_distinct
from schemas.job import Call, Command, Job
from schemas.marked_file import read_marked
from schemas.pep723 import script_block
from schemas.settings import Settings, parse_settings
from schemas.skeleton import Skeleton
from schemas.specification import read_specification

Split = Literal["train", "validation", "held_out"]


@dataclass(frozen=True)
class Problem:
    """A valid problem.

    Attributes:
        name: Stem of the file, or name of the directory, with dashes; a directory whose name is a number is prefixed
            with the name of its parent.
        specification: Fixed part of all programs: a specification, or the evolving files of a directory.
        settings: Merged settings of the specification, of `overnight.toml`, of the user and of the flags.
        inputs: For each split, one call for each input.
        dependencies: Dependencies in the settings and the PEP 723 block; in a directory, also those of the files that
            its command names.
        files: Files in the working directory of programs.
        notes: Remarks for the user about how the problem was read.
    """

    name: str
    specification: Skeleton
    settings: Settings
    inputs: Mapping[Split, tuple[Call, ...]]
    dependencies: Dependencies = field(default_factory=Dependencies)
    files: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the specification and the files, hexadecimal."""
        if not self.files:
            return self.specification.hash
        parts = [self.specification.hash, *(f"{file.hash} {file.path}" for file in self.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def tunes(self) -> bool:
        """Whether numbers of its programs are tuned."""
        settings = self.settings
        is_wanted = settings.tuner.enabled and settings.search.algorithm.shows_feedback
        return is_wanted and self.specification.language == "python"

    def job(self, split: Split = "train", seed: int = 0, *, isolation: bool | None = None) -> Job:
        """Return the data a sandbox needs to evaluate programs on one split.

        Args:
            split: Split of the inputs.
            seed: Seed of the run.
            isolation: Whether evaluations are isolated, with the evolved function in its own process; by default as in
                the settings. Ignored if a command scores programs.
        """
        if isolation is None:
            isolation = self.settings.sandbox.split
        skeleton = self.specification
        return Job(
            run_function=skeleton.run,
            inputs=self.inputs[split],
            limits=self.settings.limits,
            thresholds=self.settings.thresholds if split == "train" else (),
            seed=seed,
            isolation=skeleton.isolation if isolation else None,
            command=self._command(),
        )

    @property
    def draws(self) -> bool:
        """Whether a function or a command of the problem draws what a program does."""
        return bool(self.settings.command.draw if not self.specification.run else self._draw_function)

    def drawing_job(self, seed: int = 0) -> Job:
        """Return the data a sandbox needs to draw what programs do with the last of its `inputs`, if it `draws`.

        Where programs are confirmed, they are drawn in isolation, too: the evolved function in a process of its own
        cannot draw what it does not do.
        """
        sandbox, skeleton = self.settings.sandbox, self.specification
        command = self._command()
        return Job(
            run_function=self._draw_function,
            inputs=self.inputs["train"][-1:],
            limits=self.settings.limits,
            seed=seed,
            isolation=skeleton.isolation if sandbox.split or sandbox.confirm != "never" else None,
            command=command and replace(command, arguments=self.settings.command.draw, metrics_file=""),
            draws=True,
        )

    @property
    def _draw_function(self) -> str:
        return (self.settings.draw or self.specification.draw) if self.specification.run else ""

    def code_hash(self, body: str) -> str:
        """Return 16 hex digits by which programs count as the same, as `search.novelty` says."""
        if self.settings.search.compares_meaning:
            return self.specification.meaning_hash(body)
        return self.specification.code_hash(body)

    def _command(self) -> Command | None:
        """Return the command that scores programs; `None` if a function does."""
        command = self.settings.command
        if self.specification.run:
            return None
        names = command.evolving_paths
        files = () if isinstance(command.program, str) else names
        return Command(names[0], command.evaluate, command.metric, command.metrics_file, files)


def restore_problem(name: str, text: str, settings: Mapping[str, Any], files: Sequence[File] = ()) -> Problem:
    """Restore a problem from the data that a run stores; no file is read."""
    parsed = parse_settings(dict(settings), name)
    return make_problem(name, _restore_skeleton(name, text, parsed), parsed, files)


def _restore_skeleton(name: str, text: str, settings: Settings) -> Skeleton:
    command = settings.command
    if not command.evaluate:
        return read_specification(text, name)
    if not isinstance(command.program, str):
        return restore_evolving_files(text, command.program)
    require_name(command.program, "the settings of the run")
    return read_marked(text, command.program)


def require_name(program: str, where: str) -> None:
    """Check that the name of the only file that evolves is that of a file in the problem's folder itself.

    Args:
        program: `command.program`.
        where: Name of the problem's folder, or of the settings, for the message.

    Raises:
        SpecificationError: If it is not.
    """
    if PurePath(program).name != program or not program.isprintable():
        raise SpecificationError(
            f"{where}: command.program is {program!r}, expected one file in the directory itself",
            remedy=f'Move the file there, or write `command.program = ["{program}"]`, in which paths may have folders.',
        )


def make_problem(name: str, specification: Skeleton, settings: Settings, files: Sequence[File]) -> Problem:
    """Make a problem of its parts.

    Args:
        name: Name of the problem.
        specification: Skeleton of its programs.
        settings: Completed settings, with the content of input files in place of their names.
        files: Files in the working directory of programs, beside those that evolve.

    Raises:
        SpecificationError: If the parts do not fit together.
    """
    splits: dict[Split, tuple[Any, ...]] = {
        "train": settings.inputs,
        "validation": settings.validation,
        "held_out": settings.held_out,
    }
    inputs: dict[Split, tuple[Call, ...]] = {
        split: tuple(specification.call(item, f"{name}: input {number}") for number, item in enumerate(raw, start=1))
        for split, raw in splits.items()
    }
    if len(settings.thresholds) > len(inputs["train"]):
        raise SpecificationError(
            f"{name}: {len(settings.thresholds)} thresholds for {len(inputs['train'])} inputs",
            remedy="Give one for each of `inputs`, in their order, or fewer; --set thresholds=[] removes them.",
        )
    _require_baseline(settings.known.baseline, specification, name)
    _require_draw(settings, specification, name)
    # The evolving files and the others are put into one folder.
    evolving = (
        [] if isinstance(settings.command.program, str) else [File(path, b"") for path in settings.command.program]
    )
    require_distinct([*evolving, *files])
    scripts = {"the settings": {"dependencies": list(settings.dependencies)}}
    dependencies = read_dependencies(scripts | _script_blocks(name, specification, settings, files))
    return Problem(name, specification, settings, inputs, dependencies, tuple(files))


def _require_baseline(function: str, specification: Skeleton, name: str) -> None:
    if function and not specification.defines(function):
        raise SpecificationError(
            f"{name}: known.baseline is {function!r}, but the file has no such function",
            remedy="Name a top-level function that takes an input and returns a score, like the run function.",
        )


def _require_draw(settings: Settings, specification: Skeleton, name: str) -> None:
    if settings.draw and not specification.defines(settings.draw):
        raise SpecificationError(
            f"{name}: draw is {settings.draw!r}, but the file has no such function",
            remedy="Name a top-level function that takes an input and returns an SVG drawing as text; for a directory, "
            "set `command.draw`.",
        )


def _script_blocks(
    name: str, specification: Skeleton, settings: Settings, files: Sequence[File]
) -> dict[str, dict[str, Any]]:
    """Return the PEP 723 blocks of the evolved files and of the files that a command names, by file."""
    texts = {name: specification.text} if specification.run else dict(specification.start_program.files)
    for file in files:
        if file.path in (*settings.command.evaluate, *settings.command.draw):
            texts[file.path] = file.content.decode("utf-8", "replace")
    return {name: script_block(text, name) for name, text in texts.items()}
