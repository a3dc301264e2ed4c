"""Read the specifications in a Jupyter notebook, as FunSearch's were published: code cells with both marks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.program.read_specification import read_specification

_EVOLVE, _RUN = (re.compile(rf"^\s*#?\s*@\s*(funsearch\s*\.\s*)?{mark}\b", re.MULTILINE) for mark in ("evolve", "run"))

_HAS_BLOCK = re.compile(r"^# /// script\s*$", re.MULTILINE)

_BLOCK = """\
# /// script
# [tool.overnight]
# # One element for each call of `{run}`, such as [8], or [[12, 7]] where it takes two arguments.
# inputs = []
# ///
"""


def specifications_in(path: Path) -> list[str]:
    """Return the specifications in a notebook, each with a `# /// script` block to write its inputs into.

    A cell with both marks is a specification. If no cell has both, all code cells together are one.

    Raises:
        SpecificationError: If the file is not a notebook, has no marks, or a specification in it is wrong.
        UsageError: If there is no such file.
    """
    cells = _code_cells(path)
    texts = [text for text in cells if _is_specification(text)]
    joined = "\n\n\n".join(cells)
    if not texts and _is_specification(joined):
        texts = [joined]
    if not texts:
        raise SpecificationError(
            f"{path}: no code cell has @funsearch.evolve and @funsearch.run",
            remedy="Write `# @funsearch.evolve` above the evolved function, and `# @funsearch.run` above the scoring.",
        )
    return [_with_block(f"{text.strip()}\n", path.name) for text in texts]


def _is_specification(text: str) -> bool:
    return bool(_EVOLVE.search(text) and _RUN.search(text))


def _with_block(text: str, name: str) -> str:
    run = read_specification(text, name).run
    return text if _HAS_BLOCK.search(text) else _BLOCK.format(run=run) + text


def _code_cells(path: Path) -> list[str]:
    text = problem_folder.read_given_text(path)
    try:
        notebook: Any = parse_json(text)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        return ["".join(cell["source"]) for cell in cells]
    except (ValueError, TypeError, KeyError) as error:
        raise SpecificationError(
            f"{path}: not a notebook: expected JSON with `cells`", remedy="Save it in Jupyter's format 4."
        ) from error
