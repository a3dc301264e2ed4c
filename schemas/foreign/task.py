"""What a task directory of any other tool becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from schemas.errors import SpecificationError
from schemas.files import File

BRIDGES = ("overnight_openevolve.py", "overnight_shinka.py")
"""Files that are added to a task's own: inside the sandbox, they call its evaluator as its tool would."""

METRICS_FILE = "overnight_metrics.json"
"""Where a bridge writes what it found."""

_OF_THE_TOOLS = {"openevolve", "shinka", "shinka-evolve"}
"""Packages that nobody needs here: the bridges stand in for what evaluators take from them."""

_LEFT_BEHIND = ("openevolve_output*", "results*", "checkpoints*", "*.sqlite", "*.db", "README*", "*.ipynb")
"""What earlier runs of the tools wrote, and what is for people."""


@dataclass(frozen=True)
class Task:
    """A task of another tool in our words.

    Attributes:
        settings: What the directory says, as a layer below `overnight.toml` and the flags.
        bridge: A file that is added to those of the directory.
        notes: What is otherwise than in the tool, for people.
    """

    settings: Mapping[str, Any]
    bridge: File
    notes: tuple[str, ...]


def make_task(
    directory: Path,
    *,
    tool: str,
    program: str,
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
        bridge: Name of the bridge.
        arguments: Of the bridge, after the program's path.
        metric: Of those that the bridge reports, the score.
        settings: What the task says, in our words; what it does not say is set here.
    """
    needs, strange = _requirements(directory / "requirements.txt")
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
    return Task(defaults | settings, File(bridge, _script(bridge, needs)), tuple(notes))


def only_file(directory: Path, stem: str) -> str | None:
    """Name of the file with this stem; `None` if there is not exactly one."""
    found = [path.name for path in directory.glob(f"{stem}.*") if path.is_file()]
    return found[0] if len(found) == 1 else None


def read_yaml(path: Path) -> dict[str, Any]:
    """The tables of a YAML file; none if there is no file.

    Raises:
        SpecificationError: If it is no YAML, or no table.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{path}: no YAML: {error}", remedy="Mend it.") from error
    if not isinstance(content or {}, dict):
        raise SpecificationError(f"{path}: {type(content).__name__}, expected tables of settings", remedy="Mend it.")
    return content or {}


def _files(directory: Path) -> list[str]:
    """All that lies in the directory but what is hidden or was written by earlier runs."""
    names = [
        path
        for path in sorted(directory.iterdir())
        if not path.name.startswith((".", "__")) and not any(path.match(pattern) for pattern in _LEFT_BEHIND)
    ]
    return [path.name for path in names if path.is_file() or any(one.is_file() for one in path.rglob("*"))]


def _requirements(path: Path) -> tuple[list[str], list[str]]:
    """What a requirements file asks for, and the lines of it that are no requirement."""
    if not path.is_file():
        return [], []
    needs, strange = [], []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            strange.append(text)
            continue
        if requirement.name.lower().replace("_", "-") not in _OF_THE_TOOLS:
            needs.append(str(requirement))
    return needs, strange


def _script(bridge: str, needs: Iterable[str]) -> bytes:
    """The bridge, with the task's requirements as its own."""
    text = (Path(__file__).parent / "inside" / bridge).read_text(encoding="utf-8")
    lines = "".join(f"#     {_quoted(one)},\n" for one in needs)
    block = f"# /// script\n# dependencies = [\n{lines}# ]\n# ///\n" if lines else ""
    return f"{block}{text}".encode()


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'
