"""Read task directories of OpenEvolve: `initial_program.*`, `evaluator.py`, `config.yaml`."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.sampling_settings import require_address
from overnight.schemas.settings import flat_settings
from overnight.tasks.problems.loading.task_directory import (
    FEEDBACK,
    TaskDirectory,
    Translation,
    find_yaml,
    read_yaml,
    run_flag,
)
from overnight.tasks.program import problem_folder

_TIMEOUT_S, _THRESHOLDS, _FEATURES, _ISLANDS = 300, [0.5, 0.75, 0.9], ["complexity", "diversity"], 5
"""Defaults of OpenEvolve."""

_MEAN = (
    "the evaluator names no combined_score: the score is the mean of all its metrics, as in the tool itself, counts of "
    "faults among them; --set command.metric=NAME takes one"
)
"""Note on evaluators whose score may rise with what they count as worse."""

_USED = {
    *("evaluator.timeout", "evaluator.memory_limit_mb", "evaluator.cascade_evaluation", "evaluator.cascade_thresholds"),
    *("database.feature_dimensions", "database.num_islands", "prompt.include_artifacts", "prompt.max_artifact_bytes"),
    *("prompt.system_message", "llm.system_message", "llm.temperature", "llm.top_p", "llm.max_tokens", "llm.timeout"),
    *("file_suffix", "language"),
}
_NOTED = {
    *("max_iterations", "random_seed", "llm.api_base", "llm.models", "llm.provider", "llm.primary_model"),
    *("llm.primary_model_weight", "llm.secondary_model", "llm.secondary_model_weight"),
}


def translate(directory: Path, **options: Any) -> Translation:
    """Translate `config.yaml`; `options` are further options of the bridge."""
    path, note = find_yaml(directory, "config*.y*ml", "config.yaml", "config.yml")
    config = read_yaml(path)
    values = flat_settings(config)
    cascade = values.get("evaluator.cascade_evaluation", True)
    thresholds = _numbers(values.get("evaluator.cascade_thresholds", _THRESHOLDS)) if cascade else None
    options = {"thresholds": thresholds, "features": values.get("database.feature_dimensions", _FEATURES), **options}
    notes = _notes(path.name, note, config, values)
    if not problem_folder.contains(directory, options.get("evaluator", FORMAT.evaluator), "combined_score"):
        notes.append(_MEAN)
    return Translation(
        _settings(values, stages=3 if cascade else 1),
        notes,
        metric="score",
        arguments=[json.dumps(options)],
    )


FORMAT = TaskDirectory(
    name="OpenEvolve",
    evaluator="evaluator.py",
    mark="def evaluate(",
    programs=("initial_program", "init_program", "initial_prompt"),
    bridge="overnight_openevolve.py",
    translate=translate,
)


def _settings(values: dict[str, Any], stages: int) -> dict[str, Any]:
    """Translate settings of OpenEvolve, whose timeout holds for each stage of a cascade."""
    limits: dict[str, Any] = {"wall_s": _seconds(values.get("evaluator.timeout", _TIMEOUT_S), stages)}
    if memory := values.get("evaluator.memory_limit_mb"):
        limits["memory_mib"] = memory
    sampling = {
        "temperature": values.get("llm.temperature", 0.7),
        "top_p": values.get("llm.top_p"),
        "max_tokens": values.get("llm.max_tokens", 4096),
        "timeout_s": values.get("llm.timeout", 60),
    }
    return {
        "statement": _statement(values),
        "limits": limits,
        "search": {
            "algorithm": {"islands": values.get("database.num_islands", _ISLANDS)},
            "feedback": _feedback(values),
        },
        "sampling": sampling,
    }


def _seconds(timeout: Any, stages: int) -> Any:
    """Return a timeout for all stages together; the check of the settings refuses a value that is not a number."""
    return timeout * stages if isinstance(timeout, int | float) else timeout


def _feedback(values: dict[str, Any]) -> int:
    """Return the maximum length of the feedback in a prompt, characters; 0 unless the task asks for artifacts."""
    if not values.get("prompt.include_artifacts"):
        return 0
    limit = values.get("prompt.max_artifact_bytes")
    return min(limit, FEEDBACK) if isinstance(limit, int) else FEEDBACK


def _statement(values: dict[str, Any]) -> str:
    """Return the system message; a message of one word is the name of a template, which is ignored."""
    for name in ("prompt.system_message", "llm.system_message"):
        text = str(values.get(name) or "").strip()
        if " " in text:
            return text
    return ""


def _notes(file: str, note: str, config: dict[str, Any], values: dict[str, Any]) -> list[str]:
    notes = [note] if note else []
    if (provider := values.get("llm.provider", "openai")) != "openai":
        notes.append(f"its llm.provider is {provider}: name models with --model, as LiteLLM does")
    elif isinstance(llm := config.get("llm"), dict) and (flags := _model_flags(llm)):
        notes.append(f"to use its models: {flags}")
    notes += run_flag("max_iterations", "--max-samples", values.get("max_iterations"))
    notes += run_flag("random_seed", "--seed", values.get("random_seed"), least=0)
    if unused := sorted(set(values) - _USED - _NOTED):
        notes.append(f"{file}: not used: {', '.join(unused)}")
    return notes


def _model_flags(llm: dict[str, Any]) -> str:
    """Return the models, which use OpenAI's protocol, as flags of `overnight run`, quoted for a shell."""
    models = llm.get("models") if isinstance(llm.get("models"), list) else []
    weights = {str(model.get("name")): model.get("weight", 1.0) for model in models or () if isinstance(model, dict)}
    for rank, default_weight in (("primary", 1.0), ("secondary", 0.2)):
        if name := llm.get(f"{rank}_model"):
            weights[str(name)] = llm.get(f"{rank}_model_weight", default_weight)
    flags: list[str] = []
    for name, weight in weights.items():
        if _is_model(name) and isinstance(weight, int | float) and 0 < weight < math.inf:
            flags += ["--model", f"openai/{name}={weight}"]
    base = llm.get("api_base")
    return shlex.join([*flags, "--api-base", str(base)] if flags and _is_address(base) else flags)


def _is_model(name: str) -> bool:
    return bool(name) and name.isprintable() and " " not in name


def _is_address(value: Any) -> bool:
    """Return whether a value is an address that `--api-base` takes, and not a placeholder such as `${API_BASE}`."""
    try:
        require_address(str(value or ""))
    except UsageError:
        return False
    return _is_model(str(value)) and "${" not in str(value)


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(item, int | float) for item in value):
        raise SpecificationError(
            f"config.yaml: evaluator.cascade_thresholds is {value!r}, expected numbers", remedy="Correct it."
        )
    return value
