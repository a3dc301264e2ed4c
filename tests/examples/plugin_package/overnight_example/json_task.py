"""A problem format: a JSON file with the task in words, the file that evolves, and the command that scores it.

Such a file, beside the program and the script that it names:

    {"task": "Climb.", "program": "main.py", "evaluate": ["python3", "score.py", "{program}"], "metric": "height"}

It is asked where the user's configuration file has `plugins.problem_formats = ["json_task"]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.problem import Problem
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.formats.directory import Task, load_directory
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_json


class JsonTask(ProblemFormat):
    """Format of JSON files that name a command."""

    def recognises(self, named: NamedProblem) -> bool:
        return named.path.suffix == ".json" and named.path.is_file()

    def load(self, named: NamedProblem) -> Problem:
        content = read_object(named.path)
        command = {name: content.pop(name) for name in ("program", "evaluate", "metric") if name in content}
        settings = {"statement": content.pop("task", ""), "command": command}
        notes = (f"{named.path.name}: not used: {', '.join(sorted(content))}",) if content else ()
        return load_directory(named, Task(settings, notes=notes))

    def explain_missing(self, named: NamedProblem) -> str:
        """Return the remedy for a directory that has such a file."""
        names = problem_folder.file_names(named.path, "*.json")
        found = [named.path / name for name in names if problem_folder.contains(named.path, name, '"evaluate"')]
        return f"Name the task by its own path: {found[0]}" if found else ""


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object of a file."""
    try:
        content = parse_json(problem_folder.read_given_text(path))
    except ValueError as error:
        raise SpecificationError(f"{path}: not valid JSON: {error}", remedy="Correct the file.") from error
    if not isinstance(content, dict):
        raise SpecificationError(f"{path}: {type(content).__name__}, expected an object", remedy="Correct the file.")
    return content


FORMAT = JsonTask()
