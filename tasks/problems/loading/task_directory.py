"""Task directories of other tools: a format for each, and what their modules share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from packaging.requirements import Requirement

from overnight.schemas.dependencies import parse_requirement
from overnight.schemas.errors import SpecificationError
from overnight.schemas.files import File
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.formats.directory import Task, load_directory
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_yaml

COMMON_BRIDGE = "overnight_bridge.py"
"""Name of the module that all bridges import. A bridge is added to a task and calls its evaluator as its tool would."""

METRICS_FILE = "overnight_metrics.json"
"""Name of the file that a bridge writes the metrics to."""

FEEDBACK = 4000
"""Maximum length of the feedback in a prompt, characters, if a task asks for feedback."""

_TOOL_PACKAGES = {"openevolve", "shinka", "shinka-evolve"}
"""Packages of the tools, which are not installed: the bridges replace the parts that evaluators import from them."""

PACKAGES = {
    **{"PIL": "pillow", "faiss": "faiss-cpu", "ot": "POT", "pysat": "python-sat", "sklearn": "scikit-learn"},
    "yaml": "PyYAML",
}
"""Packages by the modules that have another name."""

_COMMON_PACKAGES = {
    module: PACKAGES.get(module, module)
    for module in (
        *("jax", "matplotlib", "networkx", "numba", "optax", "pandas", "psutil", "scipy", "seaborn"),
        *("PIL", "sklearn", "sympy", "tqdm", "yaml"),
    )
}
"""Packages, by module, that tasks use without listing them, since the tools or their users install them."""

_MAX_LINE_CHARS = 200
"""Limit on a line shown in a note, characters."""

_EXCLUDED = ("openevolve_output*", "results*", "checkpoints*", "*.sqlite", "*.db", "README*", "*.ipynb")
"""Files that earlier runs of the tools wrote, and documentation."""


@dataclass(frozen=True)
class Translation:
    """Settings of a task that another tool's files contain.

    Attributes:
        settings: Settings of Overnight; missing ones get defaults.
        arguments: Arguments of the bridge, after the program's path.
    """

    settings: dict[str, Any]
    notes: Sequence[str]
    metric: str
    arguments: Sequence[str] = ()


@dataclass(frozen=True)
class TaskDirectory(ProblemFormat):
    """Format of another tool's task directories: a start program beside an evaluator, called by a bridge.

    Attributes:
        evaluator: Path of the script that scores programs; its modules and `requirements.txt` are beside it.
        mark: Text that such a script contains.
        programs: Names of start programs in the tool's examples, without suffix.
    """

    name: str
    evaluator: str
    mark: str
    programs: tuple[str, ...]
    bridge: str
    translate: Callable[[Path], Translation]

    @property
    def added_files(self) -> tuple[str, ...]:
        return (self.bridge, COMMON_BRIDGE)

    def recognises(self, named: NamedProblem) -> bool:
        directory = named.path
        if not directory.is_dir() or problem_folder.locate(directory, self.evaluator) is None:
            return False
        return bool(self._program(named))

    def load(self, named: NamedProblem) -> Problem:
        return load_directory(named, self._task(named.path, self._program(named)))

    def explain_missing(self, named: NamedProblem) -> str:
        if not problem_folder.contains(named.path, self.evaluator, self.mark):
            return ""
        expected = " or ".join(f"{stem}.*" for stem in self.programs)
        return (
            f"{self.evaluator} looks like an evaluator of {self.name}, but there is not exactly one file {expected}: "
            "name the file that evolves, which must be in the directory itself, with --set command.program=FILE"
        )

    def _program(self, named: NamedProblem) -> str:
        """Return the name of the file that evolves: the given name, else the only file with the first stem that occurs.

        It is empty if there is no such file, or more than one.
        """
        if named.program:
            return named.program
        for stem in self.programs:
            found = problem_folder.file_names(named.path, f"{stem}.*")
            if found:
                return found[0] if len(found) == 1 else ""
        return ""

    def _task(self, directory: Path, program: str) -> Task:
        translation = self.translate(directory)
        settings = translation.settings
        listed, unused_lines = _requirements(directory, _beside(self.evaluator, "requirements.txt"))
        imported = _imported_modules(directory, self.evaluator) | _imported_modules(directory, program)
        unlisted = _unlisted_packages(directory, [settings.get("statement", ""), *imported], listed)
        defaults: dict[str, Any] = {
            "files": _files(directory),
            "command": {
                "program": program,
                "evaluate": ["python3", self.bridge, "{program}", *translation.arguments],
                "metric": translation.metric,
                "metrics_file": METRICS_FILE,
                "process": "auto",
            },
            # Evaluators of these tools print much, write files, and often read the clock: scores do not repeat.
            "limits": {"output_kib": 1024, "scratch_mib": 256} | settings.pop("limits", {}),
            "sandbox": {"confirm": "never"},
        }
        notes = [
            f"a task of {self.name}; new best programs are not confirmed; where scores repeat, --set "
            "sandbox.confirm=best takes back lucky ones"
        ]
        if unused_lines:
            notes.append(f"requirements.txt: not used: {', '.join(unused_lines)}")
        if unlisted:
            notes.append(f"packages that are used but not in requirements.txt: {', '.join(unlisted)}")
        bridges = {self.bridge: [*listed, *unlisted], COMMON_BRIDGE: []}
        added = tuple(bridge_file(name, packages) for name, packages in bridges.items())
        return Task(defaults | settings, added, (*notes, *translation.notes))


def find_yaml(directory: Path, pattern: str, *names: str) -> tuple[Path, str]:
    """Find the YAML file of settings: the first of the names that exists, else the first that matches the pattern.

    Return its path, even if there is no file, and a note if it is one of several.
    """
    for name in names:
        if problem_folder.locate(directory, name) is not None:
            return directory / name, ""
    name, *others = problem_folder.file_names(directory, pattern) or [names[0]]
    if not others:
        return directory / name, ""
    note = f"{name} is read, not {', '.join(others)}; to use another one, copy it to {names[0]}"
    return directory / name, note


def run_flag(setting: str, flag: str, value: Any, *, least: float = 1, whole: bool = True) -> list[str]:
    """Return the note, if any, that proposes a flag of `overnight run` for a tool's setting.

    It takes values from `least` on, and only whole numbers if `whole`.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < math.inf:
        return []
    return [f"to use its {setting}: overnight run … {flag} {value}"]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the tables of a YAML file; return none if there is no file.

    Raises:
        SpecificationError: If the file is not YAML, or not a table.
    """
    if problem_folder.locate(path.parent, path.name) is None:
        return {}
    text = problem_folder.read_text(path.parent, path.name)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise SpecificationError(f"{path}: not valid YAML: {error}", remedy="Correct the file.") from error
    if not isinstance(content or {}, dict):
        raise SpecificationError(
            f"{path}: {type(content).__name__}, expected tables of settings", remedy="Correct the file."
        )
    return with_text_keys(content or {})


def with_text_keys(table: dict[Any, Any]) -> dict[str, Any]:
    """Return a table with all keys, such as numbers and dates, converted to text."""
    return {str(key): with_text_keys(value) if isinstance(value, dict) else value for key, value in table.items()}


def _files(directory: Path) -> list[str]:
    """Return the names of all files and folders, except hidden ones, empty ones and those of earlier runs."""
    paths = [
        path
        for path in sorted(directory.iterdir())
        if not path.name.startswith((".", "__")) and not any(path.match(pattern) for pattern in _EXCLUDED)
    ]
    return [path.name for path in paths if path.is_file() or any(below.is_file() for below in path.rglob("*"))]


def _beside(file: str, name: str) -> str:
    """Return the path of another file in the same folder."""
    return PurePath(file).with_name(name).as_posix()


def _requirements(directory: Path, name: str) -> tuple[list[str], list[str]]:
    """Return the requirements in a `requirements.txt`, and the lines that are not requirements."""
    if problem_folder.locate(directory, name) is None:
        return [], []
    requirements, other_lines = [], []
    for line in problem_folder.read_text(directory, name, errors="replace").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = parse_requirement(text)
        except ValueError:
            other_lines.append(text[:_MAX_LINE_CHARS])
            continue
        if requirement.name.lower().replace("_", "-") not in _TOOL_PACKAGES:
            requirements.append(str(requirement))
    return requirements, other_lines


def _unlisted_packages(directory: Path, texts: Iterable[str], requirements: Iterable[str]) -> list[str]:
    """Return the common packages whose modules occur in the texts but not in the requirements."""
    listed = {Requirement(requirement).name.lower() for requirement in requirements}
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    return sorted(
        package
        for module, package in _COMMON_PACKAGES.items()
        if module in words and package.lower() not in listed and not (directory / f"{module}.py").exists()
    )


def _imported_modules(directory: Path, file: str) -> set[str]:
    """Return the top-level modules that a file imports, directly or through modules beside it."""
    found: set[str] = set()
    files = [file]
    while files:
        name = files.pop()
        if not problem_folder.has_file(directory, name):
            continue
        text = problem_folder.read_text(directory, name, errors="replace")
        new = set(re.findall(r"^[ \t]*(?:import|from)[ \t]+(\w+)", text, re.MULTILINE)) - found
        files += [_beside(name, f"{module}.py") for module in new]
        found |= new
    return found


def bridge_file(bridge: str, requirements: Iterable[str] = ()) -> File:
    """Return a bridge, with the task's requirements in its PEP 723 block."""
    text = (Path(__file__).parent / "inside" / bridge).read_text(encoding="utf-8")
    lines = "".join(f"#     {_quoted(requirement)},\n" for requirement in requirements)
    block = f"# /// script\n# dependencies = [\n{lines}# ]\n# ///\n" if lines else ""
    return File(bridge, f"{block}{text}".encode())


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
