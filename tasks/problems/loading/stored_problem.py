"""Compare the problem of a run with its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from overnight.schemas.errors import OvernightError, UsageError
from overnight.schemas.problem import Problem
from overnight.schemas.settings import Known, Settings, flat_settings, parse_settings
from overnight.tasks.problems.loading.load import added_files, load_problem
from overnight.tasks.problems.loading.problem_files import SPLITS, changed_files, names_file, with_input_files
from overnight.tasks.program import problem_folder, python_source
from overnight.tasks.program.config_layers import merge, script_block
from overnight.tasks.program.make_problem import make_problem


def with_overrides(problem: Problem, path: Path, overrides: Mapping[str, Any]) -> Problem:
    """Return the same specification and files with other settings.

    Input files are searched beside the path that it was read from.

    Raises:
        SpecificationError: If the inputs do not fit the run function.
        UsageError: If a setting is wrong.
    """
    settings = parse_settings(merge([problem.settings.model_dump(mode="json"), overrides]), problem.name)
    folder = _folder(settings, path)
    # Names of files in stored settings are not followed: the run, and its path, may come from a stranger.
    given = [split for split in SPLITS if split in overrides]
    return make_problem(problem.name, problem.specification, with_input_files(settings, folder, given), problem.files)


def changed_since(problem: Problem, path: Path) -> list[str]:
    """Return the names of files that have changed since the problem was read; none if the folder is gone."""
    folder = _folder(problem.settings, path)
    if not folder.is_dir():
        return []
    added = added_files()
    changed = []
    if problem.settings.command.evolving_paths:
        start = [
            (name, text)
            for name, text in problem.specification.start_program.files
            if name not in added or problem_folder.has_file(folder, name)
        ]
        changed = [name for name, text in start if _is_changed(partial(problem_folder.read_text, folder, name), text)]
    elif not path.is_dir():  # of a directory, a format made the specification, of files that are compared below
        is_changed = _is_changed(partial(problem_folder.read_given_text, path), problem.specification.text)
        changed = [path.name] if is_changed else []
    return changed + changed_files(folder, [file for file in problem.files if file.path not in added])


_OF_THE_SCORE = ("inputs", "validation", "held_out", "reducer", "thresholds")


def scores_alike(then: str, now: str, name: str) -> bool:
    """Return whether two versions of a specification score alike: by their code and by the inputs that they list."""
    first, second = (script_block(text, name).get("tool", {}).get("overnight", {}) for text in (then, now))
    if any(first.get(key) != second.get(key) for key in _OF_THE_SCORE):
        return False
    return python_source.is_same_code(*(python_source.parse(text).body for text in (then, now)))


def _folder(settings: Settings, path: Path) -> Path:
    """Return the folder of a problem's files; a problem with a command is a directory, or a file that names one."""
    return path if path.is_dir() or (settings.command.evaluate and not path.is_file()) else path.parent


def _is_changed(read: Callable[[], str], text: str) -> bool:
    """Return whether a file has another text now, or cannot be read."""
    try:
        return read() != text
    except UsageError:
        return True


def settings_not_in_specification(problem: Problem) -> dict[str, Any]:
    """Return the settings, by dotted name, that flags and `overnight.toml` add to those of the specification.

    Inputs that the specification reads from a data file are left out.
    """
    text = problem.specification.start_program.main
    try:
        own = parse_settings(script_block(text, problem.name).get("tool", {}).get("overnight", {}), problem.name)
    except UsageError:  # an earlier version wrote it, with settings of other names
        own = Settings()
    from_files = {split for split in SPLITS if any(map(names_file, getattr(own, split)))}
    return {name: value for name, value in _additional_settings(problem, own).items() if name not in from_files}


def settings_not_in_files(problem: Problem, path: Path) -> dict[str, Any]:
    """Return the settings, by dotted name, that the files do not give now, so that flags must repeat them.

    If the files cannot be loaded now, the stored specification counts.
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
    """Load a changed specification, with the search, sampling and sandbox settings that a run added to it."""
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
