"""ShinkaEvolve's task directories: `initial.*`, `evaluate.py`, and what `run_evo.py` and `shinka.yaml` say."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

from schemas import problem_folder, source
from schemas.settings import flat_settings
from schemas.task_formats.task_directory import (
    FEEDBACK,
    Task,
    find_program,
    find_yaml,
    make_task,
    read_yaml,
    with_names,
)

_USED = {"time", "num_islands", "max_tokens", "use_text_feedback"}

_SPOKEN_OF = {
    *("init_program_path", "eval_program_path", "results_dir", "db_path", "job_type", "language"),
    *("task_sys_msg", "llm_models", "num_generations", "max_api_costs"),
}


EVALUATOR = "evaluate.py"

_SCRIPT = "run_evo.py"

PROGRAMS = ("initial",)
"""What its examples call the start program, without suffix."""


def is_task(directory: Path, program: str = "") -> bool:
    return problem_folder.locate(directory, EVALUATOR) is not None and bool(find_program(directory, program, *PROGRAMS))


def read_task(directory: Path, program: str = "") -> Task:
    """The directory as a task.

    Args:
        directory: One that `is_task`.
        program: The file that evolves, where it is not called as usual.

    Raises:
        SpecificationError: If its `shinka.yaml` is wrong.
    """
    said, message, which = _said(directory)
    settings: dict[str, Any] = {"statement": message}
    if seconds := _seconds(said.get("time")):
        settings["limits"] = {"wall_s": seconds}
    search = {"islands": said.get("num_islands"), "feedback": FEEDBACK if said.get("use_text_feedback") else None}
    settings["search"] = {name: value for name, value in search.items() if value}
    if tokens := said.get("max_tokens"):
        settings["sampling"] = {"max_tokens": tokens}
    task = make_task(
        directory,
        tool="ShinkaEvolve",
        program=find_program(directory, program, *PROGRAMS),
        evaluator=EVALUATOR,
        bridge="overnight_shinka.py",
        arguments=[],
        metric="combined_score",
        settings=settings,
    )
    return Task(task.settings, task.bridges, (*task.notes, *([which] if which else []), *_notes(said)))


def _said(directory: Path) -> tuple[dict[str, Any], str, str]:
    """Settings by their last name, `run_evo.py`'s over the YAML file's; what the model is told; a note."""
    is_there = problem_folder.locate(directory, _SCRIPT) is not None
    text = problem_folder.read_text(directory, _SCRIPT, errors="replace") if is_there else ""
    named = re.findall(r"""["']([\w.-]+\.ya?ml)["']""", text)
    path, which = find_yaml(directory, "shinka*.yaml", "shinka.yaml", *named)
    said = {name.rpartition(".")[2]: value for name, value in flat_settings(read_yaml(path)).items()}
    message = str(said.get("task_sys_msg") or "")
    keywords, constants = _constants(text)
    said |= keywords
    message = next((text for name, text in constants.items() if name.endswith("task_sys_msg")), message)
    return said, str(said.get("task_sys_msg") or message).strip(), which


def _constants(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What a script says in plain words, read and never run: arguments of the configurations, and texts with a name."""
    try:
        tree = source.parse(text)
    except source.SourceError:
        return {}, {}
    keywords: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Config"):
            for keyword in node.keywords:
                value = _literal(keyword.value)
                keywords |= flat_settings(with_names(value)) if isinstance(value, dict) else {keyword.arg or "": value}
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _literal(node.value)
            if isinstance(value, str):
                texts[node.targets[0].id] = value
    return {name: value for name, value in keywords.items() if name and value is not None}, texts


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None


def _seconds(time: Any) -> float | None:
    """Of `HH:MM:SS`."""
    if not isinstance(time, str) or not re.fullmatch(r"\d+:\d+:\d+", time):
        return None
    hours, minutes, seconds = map(int, time.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _notes(said: dict[str, Any]) -> list[str]:
    notes = []
    models = said.get("llm_models")
    if isinstance(models, list) and models:
        notes.append(f"its models are asked with, for example: {shlex.join(['--model', str(models[0])])}")
    if "num_generations" in said:
        flags = shlex.join(["--max-samples", str(said["num_generations"])])
        notes.append(f"its num_generations is, a sample each: {flags}")
    if "max_api_costs" in said:
        notes.append(f"its max_api_costs is: {shlex.join(['--total-budget', str(said['max_api_costs'])])}")
    if unused := sorted(set(said) - _USED - _SPOKEN_OF):
        notes.append(f"settings not used: {', '.join(unused)}")
    return notes
