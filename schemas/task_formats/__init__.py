"""Task directories of other tools, read as they are: their settings in our words, and a bridge to their evaluator."""

from __future__ import annotations

from pathlib import Path

from schemas import problem_folder
from schemas.task_formats import openevolve, shinka
from schemas.task_formats.task_directory import BRIDGES, Task

__all__ = ["BRIDGES", "Task", "hint", "read_task"]


def read_task(directory: Path, program: str = "") -> Task | None:
    """The directory as a task of OpenEvolve or ShinkaEvolve; `None` where it is neither.

    Args:
        directory: Of the task.
        program: The file that evolves; by default the one that is called as in the tool's own examples.

    Raises:
        SpecificationError: If it is one and something is wrong with it.
    """
    for tool in (openevolve, shinka):
        if tool.is_task(directory, program):
            return tool.read_task(directory, program)
    return None


def hint(directory: Path) -> str:
    """What to do about a directory that has an evaluator of one of the tools and no program of its name; else empty."""
    evaluators = {"OpenEvolve": (openevolve, "def evaluate("), "ShinkaEvolve": (shinka, "results_dir")}
    for name, (tool, mark) in evaluators.items():
        path = directory / tool.EVALUATOR
        is_there = problem_folder.has_file(directory, path.name)
        if is_there and mark in problem_folder.read_text(directory, path.name, errors="replace"):
            expected = " or ".join(f"{stem}.*" for stem in tool.PROGRAMS)
            return (
                f"{path.name} looks like one of {name}, but there is not exactly one file {expected}: name the file "
                "that evolves, which lies in the directory itself, with --set command.program=FILE"
            )
    return ""
