"""Task directories of other tools, read as they are: their settings in our words, and a bridge to their evaluator."""

from __future__ import annotations

from pathlib import Path

from schemas.foreign import openevolve, shinka
from schemas.foreign.task import BRIDGES, Task

__all__ = ["BRIDGES", "Task", "read_task"]


def read_task(directory: Path) -> Task | None:
    """The directory as a task of OpenEvolve or ShinkaEvolve; `None` where it is neither.

    Raises:
        SpecificationError: If it is one and something is wrong with it.
    """
    for tool in (openevolve, shinka):
        if tool.is_task(directory):
            return tool.read_task(directory)
    return None
