"""The command that repeats a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from flows.origin import problem_path
from schemas.generation import RunRecord
from schemas.problem import settings_not_in_files
from tasks.problems import find, names


def command_of(run: RunRecord, generations: int) -> str:
    """`overnight run …` with the seed and every setting that the files at its place do not say.

    Where the run began with programs of another one, the command that made it of them.
    """
    begin = ["rescore", run.rescored_from] if run.rescored_from else ["run"]
    place, path = _place(run)
    words = ["overnight", *begin, place, "--seed", str(run.seed)]
    for name, value in settings_not_in_files(run.problem, path).items():
        words += _setting(name, value) if run.rescored_from and name != "inputs" else _flag(name, value)
    if generations and not run.rescored_from:
        words += ["--generations", str(generations)]
    return shlex.join(words)


def _place(run: RunRecord) -> tuple[str, Path]:
    """The built-in problem's name where it still is the one that was run, else the file's path; and that path."""
    name = run.problem.name
    if name in names() and find(name).read_text(encoding="utf-8") == run.problem.specification.text:
        return name, find(name)
    path = problem_path(run)
    is_here = Path(run.specification_path).absolute() == path.absolute() or not path.exists()
    return run.specification_path if is_here else str(path), path


def _flag(name: str, value: Any) -> list[str]:
    if name == "sampling.models" and all(_is_plain(model) for model in value):
        return [word for model in value for word in ("--model", _model(model))]
    if name == "inputs":
        return ["--inputs", json.dumps(value)]
    return _setting(name, value)


def _setting(name: str, value: Any) -> list[str]:
    is_plain = isinstance(value, str) and not _is_taken_for_more(value)
    return ["--set", f"{name}={value if is_plain else json.dumps(value)}"]


def _is_taken_for_more(text: str) -> bool:
    """Whether `--set` reads a text as a number, an array or the like."""
    try:
        json.loads(text)
    except ValueError:
        return text.startswith(("[", "{"))
    return True


def _is_plain(model: dict[str, Any]) -> bool:
    """Whether name and weight say it all."""
    default = "completion" if model["name"].startswith("builtin/") else "chat"
    return model["api_base"] is None and model["style"] == default


def _model(model: dict[str, Any]) -> str:
    return model["name"] if model["weight"] == 1 else f"{model['name']}={model['weight']:g}"
