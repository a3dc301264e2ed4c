"""Load and restore problems: a specification or a directory, with its inputs, files and settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from schemas import problem_folder
from schemas.config_layers import merge, read_toml
from schemas.dependencies import Dependencies, read_dependencies
from schemas.directory import DEFAULTS, evolving_paths, first_name, read_program, restore_program
from schemas.errors import OvernightError, SpecificationError, UsageError
from schemas.files import File, changed_files, read_files, require_distinct
from schemas.inputs import SPLITS, InputFiles, read_calls
from schemas.job import Call, Command, Job
from schemas.pep723 import script_block
from schemas.settings import Known, Settings, flat_settings, parse_settings
from schemas.skeleton import Skeleton
from schemas.specification import read_specification
from schemas.task_formats import BRIDGES, read_task
from schemas.user_config import config_path, user_settings

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
        dependencies: Dependencies in the PEP 723 block; in a directory, also those of the files that its command names.
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
    def is_of_another_tool(self) -> bool:
        """Whether the problem is a task directory of OpenEvolve or ShinkaEvolve."""
        return any(part in BRIDGES for part in self.settings.command.evaluate)

    @property
    def hash(self) -> str:
        """SHA-256 of the specification and the files, hexadecimal."""
        if not self.files:
            return self.specification.hash
        parts = [self.specification.hash, *(f"{file.hash} {file.path}" for file in self.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

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

    def _command(self) -> Command | None:
        """Return the command that scores programs; `None` if a function does."""
        command = self.settings.command
        if self.specification.run:
            return None
        names = evolving_paths(command)
        files = () if isinstance(command.program, str) else names
        return Command(names[0], command.evaluate, command.metric, command.metrics_file, files)


def load_problem(path: Path, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Load a specification file, or a directory, with its settings, inputs and files.

    Settings come from the PEP 723 block in the file, from `overnight.toml` beside it, from the user's configuration
    file, and from `overrides`; later ones override earlier ones.

    Args:
        path: Path of the specification file, or of the directory.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: If the file is wrong or has no inputs.
        UsageError: If a setting is wrong.
    """
    if path.is_dir():
        return _load_directory(path, dict(overrides or {}))
    text = problem_folder.read_given_text(path)
    specification = read_specification(text, path.name)
    script = script_block(text, path.name)
    own = script.get("tool", {}).get("overnight", {})
    later = [read_toml(path.with_name("overnight.toml")), user_settings(), dict(overrides or {})]
    layers = [_without_outdated_known(own, later), *later]
    settings = parse_settings(merge(layers), _sources(layers, path))
    if not settings.inputs:
        raise SpecificationError(
            f"{path.name}: no inputs: the run function needs at least one",
            remedy="Add `inputs = [8]` under `[tool.overnight]` in its `# /// script` block, or pass --inputs '[8]'.",
        )
    settings = _with_input_files(settings, path.parent)
    files = read_files(path.parent, settings.files)
    return _problem(path.stem.replace("_", "-"), specification, settings, files)


def _without_outdated_known(own: dict[str, Any], later: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a file's settings, without the known scores if a later layer changes the inputs or the reducer."""
    is_changed = any(key in layer and layer[key] != own.get(key) for layer in later for key in ("inputs", "reducer"))
    if not is_changed or "known" not in own:
        return own
    return own | {"known": {key: value for key, value in own["known"].items() if key == "baseline"}}


def _load_directory(path: Path, overrides: Mapping[str, Any]) -> Problem:
    own = read_toml(path / "overnight.toml")
    command = merge([own, overrides]).get("command")
    if not isinstance(command, dict):
        command = {}
    task = None if "evaluate" in command else read_task(path, first_name(command.get("program")))
    layers = [DEFAULTS, task.settings if task else {}, own, user_settings(), overrides]
    settings = parse_settings(merge(layers), f"{path.name}/overnight.toml")
    skeleton, settings = read_program(path, settings)
    if settings.sandbox.split:
        raise UsageError(
            "sandbox.split=true is for specifications: a command decides itself how it runs a program",
            remedy="Leave it out; a new best program is confirmed in a fresh container in any case.",
        )
    settings = _with_input_files(settings, path)
    evolving = evolving_paths(settings.command)
    files = [found for found in read_files(path, settings.files) if found.path not in evolving]
    files += task.bridges if task else ()
    problem = _problem(_directory_name(path.resolve()), skeleton, settings, files)
    return replace(problem, notes=task.notes) if task else problem


def _directory_name(path: Path) -> str:
    """Return the name of the problem in a directory; prefix a name that is only a number with the parent's name."""
    name = f"{path.parent.name}-{path.name}" if path.name.isdigit() else path.name
    return name.replace("_", "-")


def restore_problem(name: str, text: str, settings: Mapping[str, Any], files: Sequence[File] = ()) -> Problem:
    """Restore a problem from the data that a run stores; no file is read."""
    # A run from before confirmations existed continues without them: isolated evaluation of its programs is untested.
    parsed = parse_settings(merge([{"sandbox": {"confirm": "never"}}, settings]), name)
    skeleton = restore_program(text, parsed.command) if parsed.command.evaluate else read_specification(text, name)
    return _problem(name, skeleton, parsed, files)


def with_overrides(problem: Problem, path: Path, overrides: Mapping[str, Any]) -> Problem:
    """Return the same specification and files with other settings.

    Args:
        problem: Problem of a run.
        path: Path that it was read from; input files are searched beside it.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: If the inputs do not fit the run function.
        UsageError: If a setting is wrong.
    """
    settings = parse_settings(merge([problem.settings.model_dump(mode="json"), overrides]), problem.name)
    folder = path if settings.command.evaluate else path.parent
    # Names of files in stored settings are not followed: the run, and its path, may come from a stranger.
    given = [split for split in SPLITS if split in overrides]
    return _problem(problem.name, problem.specification, _with_input_files(settings, folder, given), problem.files)


def changed_since(problem: Problem, path: Path) -> list[str]:
    """Return the names of files that have changed since the problem was read; none if the folder is gone.

    Args:
        problem: Problem as it was read.
        path: Path of the specification, or the directory, that it was read from.
    """
    folder = path if problem.settings.command.evaluate else path.parent
    if not folder.is_dir():
        return []
    if evolving_paths(problem.settings.command):
        start = problem.specification.start_program.files
        changed = [name for name, text in start if _evolving_text(folder, name) != text]
    else:
        changed = [] if _given_text(path) == problem.specification.text else [path.name]
    return changed + changed_files(folder, [file for file in problem.files if file.path not in BRIDGES])


def _evolving_text(folder: Path, name: str) -> str | None:
    """Return the text of an evolving file; `None` if it cannot be read now."""
    try:
        return problem_folder.read_text(folder, name)
    except UsageError:
        return None


def _given_text(path: Path) -> str | None:
    """Return the text of a specification; `None` if it cannot be read now."""
    try:
        return problem_folder.read_given_text(path)
    except UsageError:
        return None


def settings_not_in_specification(problem: Problem) -> dict[str, Any]:
    """Return the settings, by dotted name, that flags and `overnight.toml` add to those of the specification.

    Inputs that the specification reads from a data file are left out.
    """
    text = problem.specification.start_program.main
    own = parse_settings(script_block(text, problem.name).get("tool", {}).get("overnight", {}), problem.name)
    from_files = {split for split in SPLITS if _names_files(getattr(own, split))}
    return {name: value for name, value in _additional_settings(problem, own).items() if name not in from_files}


def settings_not_in_files(problem: Problem, path: Path) -> dict[str, Any]:
    """Return the settings, by dotted name, that the files do not give now, so that flags must repeat them.

    Args:
        problem: Problem of a run.
        path: Path of the specification or the directory; if it cannot be loaded now, the stored specification counts.
    """
    try:
        current = load_problem(path).settings
    except OvernightError:
        return settings_not_in_specification(problem)
    return _additional_settings(problem, current)


def _additional_settings(problem: Problem, base: Settings) -> dict[str, Any]:
    """Return the settings of a problem, by dotted name, that differ from others; unset known scores are left out."""
    base_values, values = (flat_settings(settings.model_dump(mode="json")) for settings in (base, problem.settings))
    unset = {f"known.{name}" for name, value in Known() if value == getattr(problem.settings.known, name)}
    return {name: value for name, value in values.items() if value != base_values.get(name) and name not in unset}


def reload_problem(path: Path, problem: Problem, overrides: Mapping[str, Any]) -> Problem:
    """Load a changed specification, with the search, sampling and sandbox settings that a run added to it.

    Args:
        path: Path of the changed specification or directory.
        problem: Problem of the run.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: As in `load_problem`.
        UsageError: As in `load_problem`.
    """
    return load_problem(path, merge([_added_by_run(problem), overrides]))


def _added_by_run(problem: Problem) -> dict[str, Any]:
    """Return the search, sampling and sandbox settings that are not in the specification, nested as in TOML."""
    nested: dict[str, Any] = {}
    for name, value in settings_not_in_specification(problem).items():
        *sections, key = name.split(".")
        if sections and sections[0] in ("search", "sampling", "sandbox"):
            table = nested
            for section in sections:
                table = table.setdefault(section, {})
            table[key] = value
    return nested


def _names_files(inputs: Sequence[Any]) -> bool:
    return any(isinstance(item, str) and item.endswith(".json") for item in inputs)


def _problem(name: str, specification: Skeleton, settings: Settings, files: Sequence[File]) -> Problem:
    splits: dict[Split, tuple[Any, ...]] = {
        "train": settings.inputs,
        "validation": settings.validation,
        "held_out": settings.held_out,
    }
    inputs: dict[Split, tuple[Call, ...]] = {
        split: read_calls(raw, specification, name) for split, raw in splits.items()
    }
    if len(settings.thresholds) > len(inputs["train"]):
        raise SpecificationError(
            f"{name}: {len(settings.thresholds)} thresholds for {len(inputs['train'])} inputs",
            remedy="Give one for each of `inputs`, in their order, or fewer; --set thresholds=[] removes them.",
        )
    _require_baseline(settings.known.baseline, specification, name)
    # The evolving files and the others are put into one folder.
    evolving = (
        [] if isinstance(settings.command.program, str) else [File(path, b"") for path in settings.command.program]
    )
    require_distinct([*evolving, *files])
    dependencies = read_dependencies(_script_blocks(name, specification, settings, files))
    return Problem(name, specification, settings, inputs, dependencies, tuple(files))


def _require_baseline(function: str, specification: Skeleton, name: str) -> None:
    if function and not specification.defines(function):
        raise SpecificationError(
            f"{name}: known.baseline is {function!r}, but the file has no such function",
            remedy="Name a top-level function that takes an input and returns a score, like the run function.",
        )


def _script_blocks(
    name: str, specification: Skeleton, settings: Settings, files: Sequence[File]
) -> dict[str, dict[str, Any]]:
    """Return the PEP 723 blocks of the evolved files and of the files that a command names, by file."""
    texts = {name: specification.text} if specification.run else dict(specification.start_program.files)
    for file in files:
        if file.path in settings.command.evaluate:
            texts[file.path] = file.content.decode("utf-8", "replace")
    return {name: script_block(text, name) for name, text in texts.items()}


def _with_input_files(settings: Settings, folder: Path, splits: Sequence[str] = SPLITS) -> Settings:
    """Return settings in which the names of input files are replaced by their content, so that a run stores it."""
    reader = InputFiles(folder)
    return settings.model_copy(update={split: tuple(map(reader.content, getattr(settings, split))) for split in splits})


def _sources(layers: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Return the names of the layers that are not empty, for error messages."""
    names = [f"{path.name} [tool.overnight]", "overnight.toml", str(config_path()), "the command line"]
    return ", ".join(name for name, layer in zip(names, layers, strict=True) if layer) or path.name
