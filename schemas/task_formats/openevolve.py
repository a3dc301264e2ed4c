"""OpenEvolve's task directories: `initial_program.*`, `evaluator.py`, `config.yaml`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.errors import SpecificationError
from schemas.settings import flat_settings
from schemas.task_formats.task_directory import FEEDBACK, Task, find_program, find_yaml, make_task, read_yaml

_TIMEOUT_S, _THRESHOLDS, _FEATURES, _ISLANDS = 300, [0.5, 0.75, 0.9], ["complexity", "diversity"], 5
"""What OpenEvolve does where nothing is said."""

_USED = {
    "evaluator.timeout",
    "evaluator.memory_limit_mb",
    "evaluator.cascade_evaluation",
    "evaluator.cascade_thresholds",
    "database.feature_dimensions",
    "database.num_islands",
    "prompt.include_artifacts",
    "prompt.max_artifact_bytes",
    "prompt.system_message",
    "llm.system_message",
    "llm.temperature",
    "llm.top_p",
    "llm.max_tokens",
    "llm.timeout",
    "file_suffix",
    "language",
}


EVALUATOR = "evaluator.py"

PROGRAMS = ("initial_program", "init_program", "initial_prompt")
"""What its examples call the start program, without suffix."""


def is_task(directory: Path, program: str = "") -> bool:
    return problem_folder.locate(directory, EVALUATOR) is not None and bool(find_program(directory, program, *PROGRAMS))


def read_task(directory: Path, program: str = "") -> Task:
    """The directory as a task.

    Args:
        directory: One that `is_task`.
        program: The file that evolves, where it is not called as usual.

    Raises:
        SpecificationError: If its `config.yaml` is wrong.
    """
    path, which = find_yaml(directory, "config*.y*ml", "config.yaml", "config.yml")
    config = read_yaml(path)
    said = flat_settings(config)
    cascade = said.get("evaluator.cascade_evaluation", True)
    thresholds = _numbers(said.get("evaluator.cascade_thresholds", _THRESHOLDS)) if cascade else None
    options = {"thresholds": thresholds, "features": said.get("database.feature_dimensions", _FEATURES)}
    task = make_task(
        directory,
        tool="OpenEvolve",
        program=find_program(directory, program, *PROGRAMS),
        evaluator=EVALUATOR,
        bridge="overnight_openevolve.py",
        arguments=[json.dumps(options)],
        metric="score",
        settings=_settings(said, stages=3 if cascade else 1),
    )
    return Task(task.settings, task.bridges, (*task.notes, *_notes(path.name, which, config, said)))


def _settings(said: dict[str, Any], stages: int) -> dict[str, Any]:
    """Their settings in our words; a time-out of theirs holds for each stage of a cascade."""
    limits: dict[str, Any] = {"wall_s": _seconds(said.get("evaluator.timeout", _TIMEOUT_S), stages)}
    if memory := said.get("evaluator.memory_limit_mb"):
        limits["memory_mib"] = memory
    sampling = {
        "temperature": said.get("llm.temperature", 0.7),
        "top_p": said.get("llm.top_p"),
        "max_tokens": said.get("llm.max_tokens", 4096),
        "timeout_s": said.get("llm.timeout", 60),
    }
    return {
        "statement": _statement(said),
        "limits": limits,
        "search": {"islands": said.get("database.num_islands", _ISLANDS), "feedback": _feedback(said)},
        "sampling": sampling,
    }


def _seconds(timeout: Any, stages: int) -> Any:
    """Return a time-out for all stages together; what is no number is left to the check of the settings."""
    return timeout * stages if isinstance(timeout, int | float) else timeout


def _feedback(said: dict[str, Any]) -> int:
    """Characters of artifacts in a prompt, where a task asks for them in so many words."""
    most = said.get("prompt.max_artifact_bytes")
    return min(most if isinstance(most, int) else FEEDBACK, FEEDBACK) if said.get("prompt.include_artifacts") else 0


def _statement(said: dict[str, Any]) -> str:
    """What the model is told; a message that is one word names a template of theirs."""
    for name in ("prompt.system_message", "llm.system_message"):
        text = str(said.get(name) or "").strip()
        if " " in text:
            return text
    return ""


def _notes(file: str, which: str, config: dict[str, Any], said: dict[str, Any]) -> list[str]:
    notes = [which] if which else []
    if (provider := said.get("llm.provider", "openai")) != "openai":
        notes.append(f"its llm.provider is {provider}: models are named with --model, as LiteLLM names them")
    elif isinstance(llm := config.get("llm"), dict) and (flags := _model_flags(llm)):
        notes.append(f"its models are asked with: {flags}")
    if "max_iterations" in said:
        notes.append(f"its max_iterations is: {shlex.join(['--max-samples', str(said['max_iterations'])])}")
    if "random_seed" in said:
        notes.append(f"its random_seed is: {shlex.join(['--seed', str(said['random_seed'])])}")
    unused = sorted(_unused(said))
    if unused:
        notes.append(f"{file}: not used: {', '.join(unused)}")
    return notes


def _unused(said: dict[str, Any]) -> set[str]:
    spoken_of = {"max_iterations", "random_seed", "llm.api_base", "llm.models", "llm.provider"}
    spoken_of |= {f"llm.{which}_model{end}" for which in ("primary", "secondary") for end in ("", "_weight")}
    return set(said) - _USED - spoken_of


def _model_flags(llm: dict[str, Any]) -> str:
    """The models as flags of `overnight run`, to be copied into a shell: they speak OpenAI's protocol."""
    models = llm.get("models") if isinstance(llm.get("models"), list) else []
    named = {str(one.get("name")): one.get("weight", 1.0) for one in models or () if isinstance(one, dict)}
    for which, usual in (("primary", 1.0), ("secondary", 0.2)):
        if name := llm.get(f"{which}_model"):
            named[str(name)] = llm.get(f"{which}_model_weight", usual)
    flags = [word for name, weight in named.items() if weight for word in ("--model", f"openai/{name}={weight}")]
    base = llm.get("api_base")
    return shlex.join([*flags, "--api-base", str(base)] if flags and base else flags)


def _numbers(value: Any) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        raise SpecificationError(
            f"config.yaml: evaluator.cascade_thresholds is {value!r}, expected numbers", remedy="Mend it."
        )
    return value
