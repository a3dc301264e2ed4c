"""Read tasks of AlgoTune: `description.txt` beside a class with `generate_problem`, `solve` and `is_solution`."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import File
from overnight.schemas.problem import Problem
from overnight.schemas.settings import parse_settings
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.formats.directory import problem_name
from overnight.tasks.problems.loading.problem_files import read_files, with_input_files
from overnight.tasks.problems.loading.task_directory import PACKAGES, bridge_file
from overnight.tasks.program import problem_folder, python_source
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.program.config_layers import merge
from overnight.tasks.program.make_problem import make_problem
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.source_lines import indent
from overnight.tasks.program.user_config import user_layers

DESCRIPTION, MARK = "description.txt", "@register_task("
BRIDGE, BASE = "overnight_algotune.py", "AlgoTuneTasks/base.py"

_SIZES_IN_CLONE = "reports/generation.json"
"""File of a clone with the sizes at which a reference takes 0.1 s, relative to the folder above the tasks."""

_SEEDS, _HELD_OUT_SEEDS = (1, 2), (101,)

_METHODS = ("generate_problem", "solve", "is_solution")

_NOT_PACKAGES = {"AlgoTuneTasks", "AlgoTuner", "numpy"}

_UNDECLARED = (("networkx", "networkx", "scipy"), ("cvxpy", "ECOS", "ecos"))
"""Packages that a module needs and does not require, for tasks that name what needs it: module, name, package."""

_SCORING = """

reference = {name}()


@funsearch.run
def speed_up(n, seed=1):
    from overnight_algotune import measure

    return measure(reference, solve, n, seed)


@funsearch.evolve
def solve({parameters}):
{body}
"""
"""Addition to a task's module: the scoring, in a process of its own, and the reference as the start program."""

_RULES = """

Score: how many times faster than the reference, which is the start program. Problems are drawn anew in each
evaluation, so that nothing is gained by knowing answers. A solution counts if this method accepts it:

```python
{check}
```"""


class AlgoTune(ProblemFormat):
    """Format of these tasks: a function `solve` is timed beside the task's method, and its solutions are checked."""

    @property
    def added_files(self) -> tuple[str, ...]:
        return (BRIDGE, BASE)

    def recognises(self, named: NamedProblem) -> bool:
        if not named.path.is_dir() or "evaluate" in named.command:
            return False
        return problem_folder.locate(named.path, DESCRIPTION) is not None and len(_modules(named.path)) == 1

    def load(self, named: NamedProblem) -> Problem:
        folder = named.path
        (module,) = _modules(folder)
        task = _read_task(problem_folder.read_text(folder, module), module)
        layers = [_settings(folder, module, task), named.settings_file, *user_layers(named.flags)]
        settings = parse_settings(merge(layers), f"{folder.resolve().name}/overnight.toml")
        if not settings.inputs:
            raise SpecificationError(
                f"{folder}: no size of problems: {_SIZES_IN_CLONE} of the clone names none",
                remedy="Name a size and a seed for each input: --inputs '[[100, 1], [100, 2]]'",
            )
        settings = with_input_files(settings, folder)
        base = File(BASE, b"from overnight_algotune import Task, register_task\n")
        files = [*read_files(folder, settings.files), bridge_file(BRIDGE), base]
        problem = make_problem(problem_name(folder), read_specification(task.specification, module), settings, files)
        return replace(problem, notes=(_NOTE,))

    def explain_missing(self, named: NamedProblem) -> str:
        found = _modules(named.path)
        if not found:
            return ""
        return (
            f"{', '.join(found)} looks like a task of AlgoTune: it takes one such module, and {DESCRIPTION} beside it"
        )


FORMAT = AlgoTune()

_NOTE = "a task of AlgoTune; as times differ, new best programs are not confirmed, but every evaluation is isolated"


@dataclass(frozen=True)
class _Task:
    """Content of a task's module.

    Attributes:
        specification: The module with the scoring and the evolved function.
        check: Text of the method that checks solutions.
    """

    specification: str
    check: str
    packages: list[str]


def _modules(folder: Path) -> list[str]:
    return [name for name in problem_folder.file_names(folder, "*.py") if problem_folder.contains(folder, name, MARK)]


def _read_task(text: str, module: str) -> _Task:
    """Read the module of a task, which is parsed but never run."""
    try:
        tree = python_source.parse(text)
    except python_source.SourceError as error:
        raise SpecificationError(f"{module}:{error.line}: {error}", remedy="Correct the file.") from error
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_registered(node)]
    if len(found) != 1:
        raise _refusal(module, f"{len(found)} classes have {MARK}…), expected one")
    methods = {node.name: node for node in found[0].body if isinstance(node, ast.FunctionDef)}
    if missing := [name for name in _METHODS if name not in methods]:
        raise _refusal(module, f"`{found[0].name}` lacks {', '.join(missing)}")
    check = ast.get_source_segment(text, methods["is_solution"], padded=True) or ""
    added = _SCORING.format(name=found[0].name, **_function(text, methods["solve"]))
    return _Task(text.rstrip() + "\n" + added, check, sorted(_packages(tree, text)))


def _is_registered(node: ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).startswith(MARK.removeprefix("@")) for decorator in node.decorator_list)


def _function(text: str, method: ast.FunctionDef) -> dict[str, str]:
    """Return the parameters and the body of the function that does what a method does."""
    receiver, *others = method.args.args
    parameters = ast.unparse(ast.arguments([], others, None, [], [], None, []))
    has_docstring = ast.get_docstring(method, clean=False) is not None
    statements = method.body[1:] if has_docstring else method.body
    body = python_source.dedented_body(text, method)
    if not python_source.has_same_code(body, statements):
        body = "\n".join(map(python_source.unparse, statements))
    names = {node.id for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)}
    if receiver.arg in names:
        body = f"{receiver.arg} = reference\n{body}"
    return {"parameters": parameters, "body": indent(body, "    ")}


def _packages(tree: ast.Module, text: str) -> Iterator[str]:
    """Yield the packages that a module imports, and those that they need for what it names."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    needed = {package for module, name, package in _UNDECLARED if module in modules and re.search(rf"\b{name}\b", text)}
    yield from needed | {PACKAGES.get(module, module) for module in modules - _NOT_PACKAGES - sys.stdlib_module_names}


def _settings(folder: Path, module: str, task: _Task) -> dict[str, Any]:
    description = problem_folder.read_text(folder, DESCRIPTION, errors="replace").strip()
    size = _size(folder)
    inputs = {"inputs": [[size, seed] for seed in _SEEDS], "held_out": [[size, seed] for seed in _HELD_OUT_SEEDS]}
    return {
        **(inputs if size else {}),
        "statement": description + _RULES.format(check=task.check),
        "score_name": "speed-up",
        "files": [module, DESCRIPTION],
        "dependencies": task.packages,
        "limits": {"wall_s": 120.0, "memory_mib": 4096, "output_kib": 1024},
        "sandbox": {"split": True, "confirm": "never"},
        "state": "calls",  # what a solver needs once is made by its first call
        # Numbers that are tuned to times are tuned to chance.
        "tuner": {"enabled": False},
    }


def _size(folder: Path) -> int | None:
    """Return the size of problems at which the reference takes the published time, if the clone has it."""
    real = folder.resolve()
    clone = real.parent.parent
    if problem_folder.locate(clone, _SIZES_IN_CLONE) is None:
        return None
    try:
        sizes = parse_json(problem_folder.read_text(clone, _SIZES_IN_CLONE))
    except ValueError as error:
        raise SpecificationError(
            f"{clone / _SIZES_IN_CLONE}: not valid JSON: {error}", remedy="Take it from a fresh clone."
        ) from error
    own = sizes.get(real.name) if isinstance(sizes, dict) else None
    size = own.get("n") if isinstance(own, dict) else None
    return size if isinstance(size, int) and size > 0 else None


def _refusal(module: str, found: str) -> SpecificationError:
    return SpecificationError(f"{module}: {found}", remedy="Correct it, or take the task's folder from a clone.")
