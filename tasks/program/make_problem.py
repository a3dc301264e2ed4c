"""Make a problem of its parts, and restore it from what a run stores."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from overnight.schemas.dependencies import read_dependencies
from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import File, require_distinct
from overnight.schemas.job import Call
from overnight.schemas.problem import Problem, Split
from overnight.schemas.settings import Settings, parse_settings
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program import python_source
from overnight.tasks.program.config_layers import script_block
from overnight.tasks.program.evolving_files import restore_evolving_files
from overnight.tasks.program.marked_file import read_marked
from overnight.tasks.program.read_specification import read_specification


def restore_problem(name: str, text: str, settings: Mapping[str, Any], files: Sequence[File] = ()) -> Problem:
    """Restore a problem from the data that a run stores; no file is read."""
    parsed = parse_settings(dict(settings), name, is_stored=True)
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
    """Check that the only file that evolves is named as a file in the problem's folder itself."""
    if PurePath(program).name != program or not program.isprintable():
        raise SpecificationError(
            f"{where}: command.program is {program!r}, expected one file in the directory itself",
            remedy=f'Move the file there, or write `command.program = ["{program}"]`, in which paths may have folders.',
        )


def make_problem(name: str, specification: Skeleton, settings: Settings, files: Sequence[File]) -> Problem:
    """Make a problem of its parts, which must fit together.

    In the settings, the content of input files stands in place of their names. The files lie beside those that evolve.
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
    _require_functions(settings, specification, name)
    # The evolving files and the others are put into one folder.
    evolving = (
        [] if isinstance(settings.command.program, str) else [File(path, b"") for path in settings.command.program]
    )
    require_distinct([*evolving, *files])
    scripts = {"the settings": {"dependencies": list(settings.dependencies)}}
    dependencies = read_dependencies(scripts | _script_blocks(name, specification, settings, files))
    beside = [(file.path, file.content.decode("utf-8", "replace")) for file in files]
    asks = any(_uses_ask(text) for path, text in [*specification.start_program.files, *beside] if path.endswith(".py"))
    return Problem(name, specification, settings, inputs, dependencies, tuple(files), asks=asks)


def _uses_ask(text: str) -> bool:
    """Return whether a Python file uses `funsearch.ask`, by whatever name it imports the module or the function."""
    if "funsearch" not in text:
        return False
    try:
        tree = python_source.parse(text.removeprefix("\ufeff"))
    except python_source.SourceError:
        return False
    modules, imported, attributes = {"funsearch"}, set[str](), set[str]()
    for node in python_source.nodes(tree):
        match node:
            case ast.Import(names=names):
                modules.update(each.asname for each in names if each.name == "funsearch" and each.asname)
            case ast.ImportFrom(module="funsearch", names=names, level=0):
                imported.update(each.name for each in names)
            case ast.Attribute(value=ast.Name(id=module), attr="ask"):
                attributes.add(module)
    is_bare = "ask" in imported or ("*" in imported and "ask" in python_source.called_names(tree))
    return is_bare or not modules.isdisjoint(attributes)


def _require_functions(settings: Settings, specification: Skeleton, name: str) -> None:
    """Check that the functions that settings name are in the file."""
    for setting, function, remedy in (
        (
            "known.baseline",
            settings.known.baseline,
            "Name a top-level function that takes an input and returns a score, like the run function.",
        ),
        (
            "draw",
            settings.draw,
            "Name a top-level function that takes an input and returns an SVG drawing as text; for a directory, set "
            "`command.draw`.",
        ),
    ):
        if function and not specification.defines(function):
            raise SpecificationError(
                f"{name}: {setting} is {function!r}, but the file has no such function", remedy=remedy
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
