"""Read task directories of other tools: translate their settings, and add a bridge that calls their evaluator.

Start reading in `task_directory.py`, then `openevolve.py`.
"""

from __future__ import annotations

from pathlib import Path

from schemas import problem_folder
from schemas.problem import Problem
from tasks.problems.loading.formats import openevolve, shinka
from tasks.problems.loading.task_directory import BRIDGES, Task

__all__ = ["BRIDGES", "Task", "is_of_another_tool", "missing_program_remedy", "read_task"]


def is_of_another_tool(problem: Problem) -> bool:
    """Return whether a problem is a task directory of OpenEvolve or ShinkaEvolve."""
    return any(part in BRIDGES for part in problem.settings.command.evaluate)


def read_task(directory: Path, program: str = "") -> Task | None:
    """Read a directory as a task of OpenEvolve or ShinkaEvolve; return `None` if it is neither.

    Args:
        directory: Directory of the task.
        program: Name of the file that evolves; by default the name that the tool's own examples use.

    Raises:
        SpecificationError: If it is a task with something wrong in it.
    """
    for tool in (openevolve, shinka):
        if tool.is_task(directory, program):
            return tool.read_task(directory, program)
    return None


def missing_program_remedy(directory: Path) -> str:
    """Return the remedy for a directory with an evaluator of one of the tools but no start program; else empty."""
    evaluators = {"OpenEvolve": (openevolve, "def evaluate("), "ShinkaEvolve": (shinka, "results_dir")}
    for name, (tool, mark) in evaluators.items():
        path = directory / tool.EVALUATOR
        has_evaluator = problem_folder.has_file(directory, path.name)
        if has_evaluator and mark in problem_folder.read_text(directory, path.name, errors="replace"):
            expected = " or ".join(f"{stem}.*" for stem in tool.PROGRAMS)
            return (
                f"{path.name} looks like an evaluator of {name}, but there is not exactly one file {expected}: name "
                "the file that evolves, which must be in the directory itself, with --set command.program=FILE"
            )
    return ""
