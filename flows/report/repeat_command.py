"""Builds the command that repeats a run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from overnight.flows.start.origin import problem_path
from overnight.schemas.generation import RunRecord
from overnight.tasks.problems import find, names
from overnight.tasks.problems.loading.stored_problem import settings_not_in_files


def command_of(run: RunRecord, samples: int, in_flight: int | None) -> str:
    """Return `overnight run …` with the run's seed and every setting that differs from the problem's files.

    It takes as many samples, with as many in flight, on which depends what a prompt sees; `None` if that is not known.
    For a run that was made by `overnight rescore`, return that command. The sandbox backend is left out: it belongs to
    a machine, and pasting a stranger's command must not choose another one.
    """
    has_starts = run.rescored_from.startswith("--start")
    is_rescored = bool(run.rescored_from) and not has_starts
    command = ["rescore", run.rescored_from] if is_rescored else ["run"]
    problem, path = _problem_argument(run)
    words = ["overnight", *command, problem, "--seed", str(run.seed)]
    settings = settings_not_in_files(run.problem, path)
    settings.pop("sandbox.backend", None)
    if in_flight and not is_rescored:
        settings.setdefault("sampling.concurrency", in_flight)
    for name, value in settings.items():
        words += _set_flag(name, value) if is_rescored and name != "inputs" else _flag(name, value)
    words += shlex.split(run.rescored_from) if has_starts else []
    if samples and not is_rescored:
        words += ["--max-samples", str(samples)]
    return shlex.join(words)


def _problem_argument(run: RunRecord) -> tuple[str, Path]:
    """Return the command's PROBLEM and its path: a built-in problem's name if it is unchanged, else the path."""
    name = run.problem.name
    if name in names() and find(name).read_text(encoding="utf-8") == run.problem.specification.text:
        return name, find(name)
    path = problem_path(run)
    is_unmoved = Path(run.specification_path).absolute() == path.absolute() or not path.exists()
    return run.specification_path if is_unmoved else str(path), path


def _flag(name: str, value: Any) -> list[str]:
    if name == "sampling.models" and all(_has_only_name_and_weight(model) for model in value):
        return [word for model in value for word in ("--model", _model(model))]
    if name == "inputs":
        return ["--inputs", json.dumps(value)]
    return _set_flag(name, value)


def _set_flag(name: str, value: Any) -> list[str]:
    needs_no_quotes = isinstance(value, str) and not _reads_as_json(value)
    return ["--set", f"{name}={value if needs_no_quotes else json.dumps(value)}"]


def _reads_as_json(text: str) -> bool:
    """Return whether `--set` reads a text as a number, an array or another JSON value."""
    try:
        json.loads(text)
    except ValueError:
        return text.startswith(("[", "{"))
    return True


def _has_only_name_and_weight(model: dict[str, Any]) -> bool:
    """Return whether a model is fully described by its name and weight."""
    default = "completion" if model["name"].startswith("builtin/") else "chat"
    return model["api_base"] is None and model["style"] == default


def _model(model: dict[str, Any]) -> str:
    return model["name"] if model["weight"] == 1 else f"{model['name']}={model['weight']:g}"
