"""Problems that are specifications: one Python file with marks, its settings in a PEP 723 block."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.problem import Problem
from overnight.schemas.settings import parse_settings
from overnight.tasks.problems.loading.formats import NamedProblem, ProblemFormat
from overnight.tasks.problems.loading.problem_files import read_files, with_input_files
from overnight.tasks.program import problem_folder
from overnight.tasks.program.config_layers import merge, script_block
from overnight.tasks.program.make_problem import make_problem
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.program.user_config import config_path, user_layers

_MARK = re.compile(r"@\s*(funsearch\s*\.\s*)?(evolve|run)\b")


class SpecificationFile(ProblemFormat):
    """Format of specifications: Python files, and files of any other suffix that have a mark."""

    def recognises(self, named: NamedProblem) -> bool:
        if named.path.is_dir():
            return False
        return named.path.suffix == ".py" or bool(_MARK.search(problem_folder.read_given_text(named.path)))

    def load(self, named: NamedProblem) -> Problem:
        path = named.path
        if path.suffix == ".ipynb":
            raise SpecificationError(
                f"{path}: a notebook, not a specification",
                remedy=f"`overnight init {path.stem}.py --from {path}` writes the specification in it as a file.",
            )
        text = problem_folder.read_given_text(path)
        specification = read_specification(text, path.name)
        own = script_block(text, path.name).get("tool", {}).get("overnight", {})
        later = [named.settings_file, *user_layers(named.flags)]
        layers = [_without_outdated_known(own, later), *later]
        settings = parse_settings(merge(layers), _sources(layers, path))
        if not settings.inputs:
            raise SpecificationError(
                f"{path.name}: no inputs: the run function needs at least one",
                remedy="Add `inputs = [8]` under `[tool.overnight]` in its `# /// script` block, or pass --inputs "
                "'[8]'.",
            )
        settings = with_input_files(settings, path.parent)
        files = read_files(path.parent, settings.files)
        return make_problem(path.stem.replace("_", "-"), specification, settings, files)

    def explain_missing(self, named: NamedProblem) -> str:
        folder = named.path
        names = problem_folder.file_names(folder, "*.py")
        found = [folder / name for name in names if problem_folder.contains(folder, name, "@funsearch.evolve")]
        return f"Name a specification by its own path: {', '.join(map(str, found))}" if found else ""


FORMAT = SpecificationFile()


def _without_outdated_known(own: Mapping[str, Any], later: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a file's settings, without the known scores if a later layer changes the inputs or the reducer."""
    is_changed = any(key in layer and layer[key] != own.get(key) for layer in later for key in ("inputs", "reducer"))
    if not is_changed or "known" not in own:
        return own
    return {**own, "known": {key: value for key, value in own["known"].items() if key == "baseline"}}


def _sources(layers: Sequence[Mapping[str, Any]], path: Path) -> str:
    """Return the names of the layers that are not empty, for error messages."""
    names = [f"{path.name} [tool.overnight]", "overnight.toml", "", str(config_path()), "the command line"]
    return ", ".join(name for name, layer in zip(names, layers, strict=True) if layer and name) or path.name
