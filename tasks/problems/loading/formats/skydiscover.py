"""Read tasks of SkyDiscover whose evaluator is a folder: `initial_program.*`, `evaluator/evaluator.py`, `config.yaml`.

Their evaluators are those of OpenEvolve, each in an image of its own. A task's `Dockerfile` is not built, since a build
runs a stranger's commands outside of the sandbox; what most of them do, to install `requirements.txt`, is done here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from overnight.tasks.problems.loading.formats import openevolve
from overnight.tasks.problems.loading.task_directory import TaskDirectory, Translation
from overnight.tasks.program import problem_folder

_EVALUATOR, _DOCKERFILE = "evaluator/evaluator.py", "evaluator/Dockerfile"

_DONE_HERE = re.compile(r"pip install .*-r requirements\.txt|chmod \+x ")
"""Commands of a Dockerfile that need not run: packages are fetched as wheels, and `evaluate.sh` is not used."""

_MAX_CHARS = 200


def _translate(directory: Path) -> Translation:
    translation = openevolve.translate(directory, evaluator=_EVALUATOR)
    return replace(translation, notes=[*translation.notes, *_commands_left_out(directory)])


def _commands_left_out(directory: Path) -> list[str]:
    """Return the note on commands of the Dockerfile that are not run, if there are any."""
    if problem_folder.locate(directory, _DOCKERFILE) is None:
        return []
    lines = problem_folder.read_text(directory, _DOCKERFILE, errors="replace").splitlines()
    commands = [line for line in lines if line.startswith("RUN ") and not _DONE_HERE.search(line)]
    if not commands:
        return []
    found = "; ".join(commands)[:_MAX_CHARS]
    return [f"{_DOCKERFILE}: not built, so that it may lack: {found}; an image of your own may have it: --image NAME"]


FORMAT = TaskDirectory(
    name="SkyDiscover",
    evaluator=_EVALUATOR,
    mark="def evaluate(",
    programs=("initial_program",),
    bridge="overnight_openevolve.py",
    translate=_translate,
)
