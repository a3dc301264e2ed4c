"""What a task directory of any other tool becomes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from schemas import problem_folder
from schemas.bounded_parsing import parse_yaml
from schemas.dependencies import parse_requirement
from schemas.errors import SpecificationError
from schemas.files import File

_COMMON = "overnight_bridge.py"

BRIDGES = ("overnight_openevolve.py", "overnight_shinka.py", _COMMON)
"""Files that are added to a task's own: inside the sandbox, they call its evaluator as its tool would."""

METRICS_FILE = "overnight_metrics.json"
"""Where a bridge writes what it found."""

FEEDBACK = 4000
"""Characters of a prompt for what a program printed, where a task wants it shown."""

_OF_THE_TOOLS = {"openevolve", "shinka", "shinka-evolve"}
"""Packages that nobody needs here: the bridges stand in for what evaluators take from them."""

_TAKEN_FOR_GRANTED = {
    **{
        name: name
        for name in ("jax", "matplotlib", "networkx", "numba", "optax", "pandas", "psutil", "scipy", "seaborn")
    },
    **{"PIL": "pillow", "sklearn": "scikit-learn", "sympy": "sympy", "tqdm": "tqdm", "yaml": "PyYAML"},
}
"""Packages by module that tasks use without naming them: the tools bring them along, or who writes a task has them."""

_SHOWN = 200
"""Characters of a line that is no requirement."""

_LEFT_BEHIND = ("openevolve_output*", "results*", "checkpoints*", "*.sqlite", "*.db", "README*", "*.ipynb")
"""What earlier runs of the tools wrote, and what is for people."""


@dataclass(frozen=True)
class Task:
    """A task of another tool in our words.

    Attributes:
        settings: What the directory says, as a layer below `overnight.toml` and the flags.
        bridges: Files that are added to those of the directory.
        notes: What is otherwise than in the tool, for people.
    """

    settings: Mapping[str, Any]
    bridges: tuple[File, ...]
    notes: tuple[str, ...]


def make_task(
    directory: Path,
    *,
    tool: str,
    program: str,
    evaluator: str,
    bridge: str,
    arguments: Iterable[str],
    metric: str,
    settings: dict[str, Any],
) -> Task:
    """A task whose evaluator a bridge calls.

    Args:
        directory: Of the task.
        tool: What people call it.
        program: Name of the file that evolves.
        evaluator: Name of the script that scores it.
        bridge: Name of the bridge.
        arguments: Of the bridge, after the program's path.
        metric: Of those that the bridge reports, the score.
        settings: What the task says, in our words; what it does not say is set here.
    """
    needs, strange = _requirements(directory)
    imported = _imported(directory, evaluator) | _imported(directory, program)
    unnamed = _unnamed(directory, [settings.get("statement", ""), *imported], needs)
    defaults: dict[str, Any] = {
        "files": _files(directory),
        "command": {
            "program": program,
            "evaluate": ["python3", bridge, "{program}", *arguments],
            "metric": metric,
            "metrics_file": METRICS_FILE,
        },
        # Their evaluators print freely, write beside themselves, and often read the clock.
        "limits": {"output_kib": 1024, "scratch_mib": 256} | settings.pop("limits", {}),
        "sandbox": {"confirm": "never"},
    }
    notes = [f"a task of {tool}; bests are not run again before they count: --confirm best does, where scores repeat"]
    if strange:
        notes.append(f"requirements.txt: not used: {', '.join(strange)}")
    if unnamed:
        notes.append(f"packages that it uses and no requirements.txt names: {', '.join(unnamed)}")
    bridges = (File(bridge, _script(bridge, [*needs, *unnamed])), File(_COMMON, _script(_COMMON, ())))
    return Task(defaults | settings, bridges, tuple(notes))


def find_program(directory: Path, named: str, *stems: str) -> str:
    """Name of the file that evolves: the one that is named, else the only one with the first stem that there is.

    Returns:
        The name; empty if there is no such file, or more than one.
    """
    if named:
        return named
    for stem in stems:
        found = problem_folder.file_names(directory, f"{stem}.*")
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


def find_yaml(directory: Path, pattern: str, *names: str) -> tuple[Path, str]:
    """The file of settings: the first of the names that there is, else the first that fits the pattern.

    Returns:
        Its path, whether it is there or not; and a note where it is one of several.
    """
    for name in names:
        if problem_folder.locate(directory, name) is not None:
            return directory / name, ""
    name, *others = problem_folder.file_names(directory, pattern) or [names[0]]
    path, left = directory / name, ", ".join(others)
    return path, f"{path.name} is read, and not {left}; copied to {names[0]}, another one would be" if left else ""


def read_yaml(path: Path) -> dict[str, Any]:
    """The tables of a YAML file; none if there is no file.

    Raises:
        SpecificationError: If it is no YAML, or no table.
    """
    if problem_folder.locate(path.parent, path.name) is None:
        return {}
    text = problem_folder.read_text(path.parent, path.name)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise SpecificationError(f"{path}: no YAML: {error}", remedy="Mend it.") from error
    if not isinstance(content or {}, dict):
        raise SpecificationError(f"{path}: {type(content).__name__}, expected tables of settings", remedy="Mend it.")
    return with_names(content or {})


def with_names(table: dict[Any, Any]) -> dict[str, Any]:
    """Return a table whose keys are text, as those of settings are, and not numbers or dates."""
    return {str(key): with_names(value) if isinstance(value, dict) else value for key, value in table.items()}


def _files(directory: Path) -> list[str]:
    """All that lies in the directory but what is hidden or was written by earlier runs."""
    names = [
        path
        for path in sorted(directory.iterdir())
        if not path.name.startswith((".", "__")) and not any(path.match(pattern) for pattern in _LEFT_BEHIND)
    ]
    return [path.name for path in names if path.is_file() or any(one.is_file() for one in path.rglob("*"))]


def _requirements(directory: Path) -> tuple[list[str], list[str]]:
    """What a requirements file asks for, and the lines of it that are no requirement."""
    if problem_folder.locate(directory, "requirements.txt") is None:
        return [], []
    needs, strange = [], []
    for line in problem_folder.read_text(directory, "requirements.txt", errors="replace").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = parse_requirement(text)
        except ValueError:
            strange.append(text[:_SHOWN])
            continue
        if requirement.name.lower().replace("_", "-") not in _OF_THE_TOOLS:
            needs.append(str(requirement))
    return needs, strange


def _unnamed(directory: Path, texts: Iterable[str], needs: Iterable[str]) -> list[str]:
    """Packages that the task's files import, or the texts speak of, though nobody asks for them."""
    named = {Requirement(need).name.lower() for need in needs}
    used = {word for text in texts for word in re.findall(r"\w+", text)}
    return sorted(
        package
        for module, package in _TAKEN_FOR_GRANTED.items()
        if module in used and package.lower() not in named and not (directory / f"{module}.py").exists()
    )


def _imported(directory: Path, file: str) -> set[str]:
    """Top-level modules that a file imports, and those that the modules beside it import then."""
    found: set[str] = set()
    files = [file]
    while files:
        name = files.pop()
        if not problem_folder.has_file(directory, name):
            continue
        text = problem_folder.read_text(directory, name, errors="replace")
        new = set(re.findall(r"^[ \t]*(?:import|from)[ \t]+(\w+)", text, re.MULTILINE)) - found
        files += [f"{module}.py" for module in new]
        found |= new
    return found


def _script(bridge: str, needs: Iterable[str]) -> bytes:
    """A bridge, with the task's requirements as its own."""
    text = (Path(__file__).parent / "inside" / bridge).read_text(encoding="utf-8")
    lines = "".join(f"#     {_quoted(one)},\n" for one in needs)
    block = f"# /// script\n# dependencies = [\n{lines}# ]\n# ///\n" if lines else ""
    return f"{block}{text}".encode()


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
