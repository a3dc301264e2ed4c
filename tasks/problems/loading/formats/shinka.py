"""Read task directories of ShinkaEvolve: `initial.*`, `evaluate.py`, and settings in `run_evo.py` and `shinka.yaml`."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.schemas.settings import flat_settings
from overnight.tasks.problems.loading.task_directory import (
    FEEDBACK,
    TaskDirectory,
    Translation,
    find_yaml,
    read_yaml,
    run_flag,
    with_text_keys,
)
from overnight.tasks.program import problem_folder, python_source

_USED = {"time", "num_islands", "max_tokens", "use_text_feedback"}

_NOTED = {
    *("init_program_path", "eval_program_path", "results_dir", "db_path", "job_type", "language"),
    *("task_sys_msg", "llm_models", "num_generations", "max_api_costs"),
}

_SCRIPT = "run_evo.py"

_PROVIDERS = {
    **dict.fromkeys(("gpt-", "o1", "o3", "o4"), "openai/"),
    **{"claude": "anthropic/", "gemini": "gemini/", "deepseek-": "deepseek/", "grok": "xai/"},
    **dict.fromkeys(("openrouter/", "bedrock/"), ""),
}
"""Prefixes that LiteLLM needs, by how the names of ShinkaEvolve's models begin."""


def _translate(directory: Path) -> Translation:
    values, message, note = _read_settings(directory)
    settings: dict[str, Any] = {"statement": message}
    if seconds := _seconds(values.get("time")):
        settings["limits"] = {"wall_s": seconds}
    islands = {"islands": values["num_islands"]} if values.get("num_islands") else None
    search = {"algorithm": islands, "feedback": FEEDBACK if values.get("use_text_feedback") else None}
    settings["search"] = {name: value for name, value in search.items() if value}
    if tokens := values.get("max_tokens"):
        settings["sampling"] = {"max_tokens": tokens}
    return Translation(settings, [*([note] if note else []), *_notes(values)], metric="combined_score")


FORMAT = TaskDirectory(
    name="ShinkaEvolve",
    evaluator="evaluate.py",
    mark="results_dir",
    programs=("initial",),
    bridge="overnight_shinka.py",
    translate=_translate,
)


def _read_settings(directory: Path) -> tuple[dict[str, Any], str, str]:
    """Return the settings by the last part of their names, the message to the model, and a note on the YAML file.

    Settings of `run_evo.py` override those of the YAML file.
    """
    has_script = problem_folder.locate(directory, _SCRIPT) is not None
    script = problem_folder.read_text(directory, _SCRIPT, errors="replace") if has_script else ""
    yaml_names = re.findall(r"""["']([\w.-]+\.ya?ml)["']""", script)
    path, note = find_yaml(directory, "shinka*.yaml", "shinka.yaml", *yaml_names)
    values = {name.rpartition(".")[2]: value for name, value in flat_settings(read_yaml(path)).items()}
    message = str(values.get("task_sys_msg") or "")
    keywords, constants = _constants(script)
    values |= keywords
    message = next((text for name, text in constants.items() if name.endswith("task_sys_msg")), message)
    return values, str(values.get("task_sys_msg") or message).strip(), note


def _constants(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return keywords of `…Config` calls, and texts that are assigned to a name, in a script that is never run."""
    try:
        tree = python_source.parse(text)
    except python_source.SourceError:
        return {}, {}
    keywords: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Config"):
            for keyword in node.keywords:
                value = _literal(keyword.value)
                keywords |= (
                    flat_settings(with_text_keys(value)) if isinstance(value, dict) else {keyword.arg or "": value}
                )
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
    """Return the seconds of `HH:MM:SS`; `None` for anything else."""
    if not isinstance(time, str) or not re.fullmatch(r"\d+:\d+:\d+", time):
        return None
    if len(time) > len("0000:00:00"):
        raise SpecificationError(
            f"time is {time:.80}, expected HH:MM:SS", remedy=f"Correct it in {_SCRIPT} or in the YAML file beside it."
        )
    hours, minutes, seconds = map(int, time.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def _notes(values: dict[str, Any]) -> list[str]:
    notes = []
    models = values.get("llm_models")
    if isinstance(models, list) and models:
        notes.append(_note_of_models([str(model) for model in models]))
    notes += run_flag("num_generations, of one sample each", "--max-samples", values.get("num_generations"))
    notes += run_flag("max_api_costs", "--total-budget", values.get("max_api_costs"), least=0, whole=False)
    if unused := sorted(set(values) - _USED - _NOTED):
        notes.append(f"settings not used: {', '.join(unused)}")
    return notes


def _note_of_models(models: list[str]) -> str:
    """Return the note on models: the first that LiteLLM knows by its family, else how to name them."""
    for model in models:
        family = next((prefix for prefix in _PROVIDERS if model.startswith(prefix)), "")
        if family and re.fullmatch(r"[\w.:/-]+", model):
            return f"to use its models, for example: {shlex.join(['--model', _PROVIDERS[family] + model])}"
    return f"its models are {', '.join(models)[:200]}: name models with --model PROVIDER/MODEL, as LiteLLM does"
