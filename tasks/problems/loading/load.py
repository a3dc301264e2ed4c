"""Load a problem from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.config_layers import merge
from schemas.errors import SpecificationError, UsageError
from schemas.pep723 import script_block
from schemas.problem import Problem, make_problem
from schemas.settings import parse_settings
from schemas.specification import read_specification
from tasks.problems.loading.directory import DEFAULTS, first_name, read_program
from tasks.problems.loading.formats import read_task
from tasks.problems.loading.input_files import with_input_files
from tasks.problems.loading.problem_files import read_files
from tasks.problems.loading.settings_file import read_toml
from tasks.problems.loading.user_config import config_path, user_settings


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
    settings = with_input_files(settings, path.parent)
    files = read_files(path.parent, settings.files)
    return make_problem(path.stem.replace("_", "-"), specification, settings, files)


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
    settings = with_input_files(settings, path)
    evolving = settings.command.evolving_paths
    files = [found for found in read_files(path, settings.files) if found.path not in evolving]
    files += task.bridges if task else ()
    problem = make_problem(_directory_name(path.resolve()), skeleton, settings, files)
    return replace(problem, notes=task.notes) if task else problem


def _directory_name(path: Path) -> str:
    """Return the name of the problem in a directory; prefix a name that is only a number with the parent's name."""
    name = f"{path.parent.name}-{path.name}" if path.name.isdigit() else path.name
    return name.replace("_", "-")


def _sources(layers: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Return the names of the layers that are not empty, for error messages."""
    names = [f"{path.name} [tool.overnight]", "overnight.toml", str(config_path()), "the command line"]
    return ", ".join(name for name, layer in zip(names, layers, strict=True) if layer) or path.name
