"""A problem: what the user wants solved. A specification, its inputs, its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from schemas import problem_folder
from schemas.config_layers import merge, read_toml
from schemas.dependencies import Dependencies, read_dependencies
from schemas.directory import DEFAULTS, read_program, restore_program
from schemas.errors import OvernightError, SpecificationError, UsageError
from schemas.files import File, changed_files, read_files, require_distinct
from schemas.inputs import SPLITS, InputFiles, read_calls
from schemas.job import Call, Command, Isolation, Job
from schemas.pep723 import script_block
from schemas.settings import Known, Settings, flat_settings, parse_settings
from schemas.skeleton import Skeleton
from schemas.specification import Specification, read_specification
from schemas.task_formats import BRIDGES, read_task
from schemas.user_config import config_path, user_settings

Split = Literal["train", "validation", "held_out"]


@dataclass(frozen=True)
class Problem:
    """A problem that was read and found right.

    Attributes:
        name: The file's stem, or the directory's name, with dashes; of one that is a number with the folder above it.
        specification: What its programs share: a specification, or the file of a directory that evolves.
        settings: All settings, those of the specification, of `overnight.toml` and of the flags merged.
        inputs: For each split, one call for each input.
        needs: What the PEP 723 block asks for, in a directory also those of files that its command names.
        files: What programs find in their working directory.
        notes: What is worth saying about how it was read.
    """

    name: str
    specification: Skeleton
    settings: Settings
    inputs: Mapping[Split, tuple[Call, ...]]
    needs: Dependencies = field(default_factory=Dependencies)
    files: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_of_another_tool(self) -> bool:
        """Whether it is a task directory of OpenEvolve or ShinkaEvolve."""
        return any(part in BRIDGES for part in self.settings.command.evaluate)

    @property
    def hash(self) -> str:
        """SHA-256 of the specification, and of the files where there are any."""
        if not self.files:
            return self.specification.hash
        parts = [self.specification.hash, *(f"{file.hash} {file.path}" for file in self.files)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def job(self, split: Split = "train", seed: int = 0, *, isolation: bool | None = None) -> Job:
        """What a sandbox needs to judge programs on one split.

        Args:
            split: The inputs.
            seed: Of the run.
            isolation: Whether the evolved function has a process of its own; as the settings say by default. A command
                runs its program as it likes.
        """
        if isolation is None:
            isolation = self.settings.sandbox.split
        skeleton = self.specification
        if not isinstance(skeleton, Specification):
            return self._command_job(split, seed)
        return Job(
            run_function=skeleton.run,
            inputs=self.inputs[split],
            limits=self.settings.limits,
            thresholds=self.settings.thresholds if split == "train" else (),
            seed=seed,
            isolation=Isolation(skeleton.evolved, skeleton.text) if isolation else None,
        )

    def _command_job(self, split: Split, seed: int) -> Job:
        command = self.settings.command
        return Job(
            run_function="",
            inputs=self.inputs[split],
            limits=self.settings.limits,
            thresholds=self.settings.thresholds if split == "train" else (),
            seed=seed,
            command=Command(command.program, command.evaluate, command.metric, command.metrics_file),
        )


def load_problem(path: Path, overrides: Mapping[str, Any] | None = None) -> Problem:
    """Reads a specification file, or a directory, with everything that belongs to it.

    Settings come, the later over the earlier, from the PEP 723 block in the file, from `overnight.toml` beside it, from
    the user's configuration file, and from `overrides`.

    Args:
        path: The specification file, or the directory.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: If the file is wrong or has no inputs.
        UsageError: If a setting is.
    """
    if path.is_dir():
        return _load_directory(path, dict(overrides or {}))
    text = problem_folder.read_given_text(path)
    specification = read_specification(text, path.name)
    script = script_block(text, path.name)
    own = script.get("tool", {}).get("overnight", {})
    later = [read_toml(path.with_name("overnight.toml")), user_settings(), dict(overrides or {})]
    layers = [_known_of_its_own(own, later), *later]
    settings = parse_settings(merge(layers), _where(layers, path))
    if not settings.inputs:
        raise SpecificationError(
            f"{path.name}: no inputs: nothing says what the run function is called with",
            remedy="Add `inputs = [8]` under `[tool.overnight]` in its `# /// script` block, or pass --inputs '[8]'.",
        )
    settings = _with_input_files(settings, path.parent)
    files = read_files(path.parent, settings.files)
    return _problem(path.stem.replace("_", "-"), specification, settings, files)


def _known_of_its_own(own: dict[str, Any], later: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A file's settings, without what is known of its inputs where others are given: a best of those says nothing."""
    is_another = any(key in layer and layer[key] != own.get(key) for layer in later for key in ("inputs", "reducer"))
    known = {key: value for key, value in own.get("known", {}).items() if key == "baseline"}
    return own | {"known": known} if is_another and "known" in own else own


def _load_directory(path: Path, overrides: Mapping[str, Any]) -> Problem:
    own = read_toml(path / "overnight.toml")
    command = merge([own, overrides]).get("command")
    said = command if isinstance(command, dict) else {}
    task = None if "evaluate" in said else read_task(path, str(said.get("program") or ""))
    layers = [DEFAULTS, task.settings if task else {}, own, user_settings(), overrides]
    settings = parse_settings(merge(layers), f"{path.name}/overnight.toml")
    file, settings = read_program(path, settings)
    if settings.sandbox.split:
        raise UsageError(
            "sandbox.split=true is for specifications: a command runs its program as it likes",
            remedy="Leave it out; a best is run again in a fresh container all the same.",
        )
    settings = _with_input_files(settings, path)
    files = [one for one in read_files(path, settings.files) if one.path != settings.command.program]
    files += task.bridges if task else ()
    problem = _problem(_directory_name(path.resolve()), file, settings, files)
    return replace(problem, notes=task.notes) if task else problem


def _directory_name(path: Path) -> str:
    """Of the problem in a directory; one that is a mere number says nothing without the folder above it."""
    name = f"{path.parent.name}-{path.name}" if path.name.isdigit() else path.name
    return name.replace("_", "-")


def restore_problem(name: str, text: str, settings: Mapping[str, Any], files: Sequence[File] = ()) -> Problem:
    """A problem again from what a run has written down of it; no file is read."""
    # A run that was begun before there was confirmation goes on without: nobody has looked whether it can be split.
    parsed = parse_settings(merge([{"sandbox": {"confirm": "never"}}, settings]), name)
    skeleton = restore_program(text, parsed.command) if parsed.command.evaluate else read_specification(text, name)
    return _problem(name, skeleton, parsed, files)


def with_overrides(problem: Problem, path: Path, overrides: Mapping[str, Any]) -> Problem:
    """The same specification and files with other settings.

    Args:
        problem: As a run has it.
        path: Where it was read; input files are looked for beside it.
        overrides: Settings from the command line, nested as in TOML.

    Raises:
        SpecificationError: If the inputs do not fit.
        UsageError: If a setting is wrong.
    """
    settings = parse_settings(merge([problem.settings.model_dump(mode="json"), overrides]), problem.name)
    folder = path if settings.command.evaluate else path.parent
    # What a run has written down names no file any more: it may come from a stranger, and the place as well.
    given = [split for split in SPLITS if split in overrides]
    return _problem(problem.name, problem.specification, _with_input_files(settings, folder, given), problem.files)


def changed_since(problem: Problem, path: Path) -> list[str]:
    """Files of a problem that are no longer what was read; none where the folder itself is gone.

    Args:
        problem: As it was read.
        path: The specification, or the directory, it was read from.
    """
    folder = path if problem.settings.command.evaluate else path.parent
    if not folder.is_dir():
        return []
    program = problem.settings.command.program
    try:
        now = problem_folder.read_text(folder, program) if program else problem_folder.read_given_text(path)
    except UsageError:
        now = None
    name, is_same = program or path.name, now == problem.specification.text
    own = [file for file in problem.files if file.path not in BRIDGES]
    return [name] * (not is_same) + changed_files(folder, own)


def settings_beyond_the_file(problem: Problem) -> dict[str, Any]:
    """Settings, by dotted name, that are not what the specification alone would give: of flags and `overnight.toml`.

    Inputs that the specification reads from a data file are left out: they are where they were.
    """
    text = problem.specification.text
    alone = parse_settings(script_block(text, problem.name).get("tool", {}).get("overnight", {}), problem.name)
    files = [split for split in SPLITS if _names_files(getattr(alone, split))]
    own, given = (flat_settings(settings.model_dump(mode="json")) for settings in (alone, problem.settings))
    dropped = {f"known.{name}" for name, value in Known() if value == getattr(problem.settings.known, name)}
    return {name: value for name, value in given.items() if value != own.get(name) and name not in {*files, *dropped}}


def settings_beyond(problem: Problem, path: Path) -> dict[str, Any]:
    """Settings, by dotted name, that the files at a place would not give as they are now: what flags have to say.

    Args:
        problem: As a run has it.
        path: The specification or the directory; where it is gone, or wrong by now, the specification alone counts.
    """
    try:
        now = load_problem(path).settings
    except OvernightError:
        return settings_beyond_the_file(problem)
    there, given = (flat_settings(settings.model_dump(mode="json")) for settings in (now, problem.settings))
    dropped = {f"known.{name}" for name, value in Known() if value == getattr(problem.settings.known, name)}
    return {name: value for name, value in given.items() if value != there.get(name) and name not in dropped}


def load_instead(path: Path, problem: Problem, overrides: Mapping[str, Any]) -> Problem:
    """`load_problem` of a changed specification, which is searched as the run was that has `problem`."""
    return load_problem(path, merge([_given_beside_the_file(problem), overrides]))


def _given_beside_the_file(problem: Problem) -> dict[str, Any]:
    """How a run searches, samples and evaluates, as far as its specification does not say so; nested as in TOML."""
    nested: dict[str, Any] = {}
    for name, value in settings_beyond_the_file(problem).items():
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
            remedy="One for each of `inputs`, in their order, or fewer; --set thresholds=[] does without.",
        )
    _require_baseline(settings.known.baseline, specification, name)
    require_distinct(files)
    needs = read_dependencies(_scripts(settings.command.program or name, specification, settings, files))
    return Problem(name, specification, settings, inputs, needs, tuple(files))


def _require_baseline(function: str, specification: Skeleton, name: str) -> None:
    if function and not (isinstance(specification, Specification) and specification.defines(function)):
        raise SpecificationError(
            f"{name}: known.baseline is {function!r}, but the file has no such function",
            remedy="Name a top-level function that takes an input and returns a score, as the run function does.",
        )


def _scripts(
    name: str, specification: Skeleton, settings: Settings, files: Sequence[File]
) -> dict[str, dict[str, Any]]:
    """The PEP 723 blocks of what evolves and of the files that a command names, by file."""
    texts = {name: specification.text}
    for file in files:
        if file.path in settings.command.evaluate:
            texts[file.path] = file.content.decode("utf-8", "replace")
    return {name: script_block(text, name) for name, text in texts.items()}


def _with_input_files(settings: Settings, folder: Path, splits: Sequence[str] = SPLITS) -> Settings:
    """The settings with the content of input files in place of their names, so that a run holds its inputs."""
    read = InputFiles(folder)
    return settings.model_copy(update={split: tuple(map(read.content, getattr(settings, split))) for split in splits})


def _where(layers: Sequence[Mapping[str, Any]], path: Path) -> str:
    names = [f"{path.name} [tool.overnight]", "overnight.toml", str(config_path()), "the command line"]
    return ", ".join(name for name, layer in zip(names, layers, strict=True) if layer) or path.name
