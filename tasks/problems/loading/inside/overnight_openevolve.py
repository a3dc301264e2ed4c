"""Score a program with the `evaluator.py` of an OpenEvolve task, as OpenEvolve does; runs in the sandbox.

Its arguments are the program's path and, as JSON, the thresholds of the cascade (null for none), the names of the
metrics that are features, not fitness, and the evaluator's path (`evaluator.py` if it is missing). OpenEvolve need not
be installed.
"""

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import types
from dataclasses import dataclass, field

from overnight_bridge import prepare, report

ARTIFACT_CHARS = 20_000


@dataclass
class EvaluationResult:
    """Replacement for the class in `openevolve.evaluation_result`: metrics, and artifacts for the next prompt."""

    metrics: dict
    artifacts: dict = field(default_factory=dict)

    @classmethod
    def from_dict(cls, metrics):
        return cls(metrics)

    def to_dict(self):
        return self.metrics

    def has_artifacts(self):
        return bool(self.artifacts)


def install_replacement():
    """Make `from openevolve.evaluation_result import EvaluationResult` work without OpenEvolve."""
    if importlib.util.find_spec("openevolve") is not None:
        return
    package, module = types.ModuleType("openevolve"), types.ModuleType("openevolve.evaluation_result")
    package.__path__ = []
    package.evaluation_result = module
    package.EvaluationResult = module.EvaluationResult = EvaluationResult
    sys.modules |= {"openevolve": package, "openevolve.evaluation_result": module}


def load_evaluator(evaluator):
    # Its own folder comes first, as if it were run as a script.
    sys.path.insert(0, os.path.dirname(os.path.abspath(evaluator)))
    spec = importlib.util.spec_from_file_location("evaluation_module", os.path.abspath(evaluator))
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluation_module"] = module
    spec.loader.exec_module(module)
    return module


def evaluate(module, program, thresholds):
    """Return the result of the evaluator, or of the stages of its cascade if there is one."""
    if thresholds is None or not hasattr(module, "evaluate_stage1"):
        return as_result(module.evaluate(program))
    result = as_result(module.evaluate_stage1(program))
    for number, threshold in zip((2, 3), thresholds, strict=False):
        stage = getattr(module, f"evaluate_stage{number}", None)
        if stage is None or not passes(result.metrics, threshold):
            return result
        try:
            found = as_result(stage(program))
        except Exception as error:  # noqa: BLE001 — if a stage fails, the result of the stages before it counts
            result.artifacts[f"stage{number}_stderr"] = f"{type(error).__name__}: {error}"
            result.metrics[f"stage{number}_passed"] = 0.0
            return result
        result = merge(result, found)
    return result


def as_result(found):
    """Return the `EvaluationResult` of a returned value: a dictionary, an object with metrics, or a coroutine."""
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    if isinstance(found, dict):
        return EvaluationResult(dict(found))
    if hasattr(found, "metrics"):
        return EvaluationResult(dict(found.metrics), dict(getattr(found, "artifacts", None) or {}))
    raise TypeError(
        f"the evaluator returned {type(found).__name__}, expected metrics: a dictionary or EvaluationResult"
    )


def merge(first, second):
    """Return the numeric metrics and the artifacts of two stages; the second overrides the first."""
    metrics = {
        name: float(value)
        for result in (first, second)
        for name, value in result.metrics.items()
        if isinstance(value, int | float) and name != "error"
    }
    return EvaluationResult(metrics, {**first.artifacts, **second.artifacts})


def passes(metrics, threshold):
    """Return whether the next stage runs, by the combined score, else by the average of all numbers but `error`."""
    combined = metrics.get("combined_score")
    if isinstance(combined, int | float):
        return float(combined) >= threshold
    values = [float(value) for name, value in metrics.items() if name != "error" and isinstance(value, int | float)]
    return bool(values) and sum(values) / len(values) >= threshold


def fitness(metrics, features):
    """Return the combined score; without one, the average of the metrics that are not features, else of all."""
    try:
        return float(metrics["combined_score"])
    except (KeyError, TypeError, ValueError):
        pass
    for excluded in (features, ()):
        score = average(metrics, excluded)
        if score is not None:
            return score
    return 0.0


def average(metrics, excluded):
    """Return the average of the numeric metrics; `None` if there are none."""
    values = [
        float(value)
        for name, value in metrics.items()
        if name not in excluded and isinstance(value, int | float) and not isinstance(value, bool) and value == value
    ]
    return sum(values) / len(values) if values else None


def print_artifacts(result):
    """Print the artifacts, and the metrics that are text, such as an error; they are part of the program's output."""
    texts = {name: value for name, value in result.metrics.items() if isinstance(value, str)}
    for name, value in (texts | result.artifacts).items():
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        sys.stdout.write(f"{name}: {text[:ARTIFACT_CHARS]}\n")


def numbers(metrics):
    """Return the numeric metrics."""
    return {str(name): float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def main(program, options):
    chosen = json.loads(options)
    evaluator = chosen.get("evaluator", "evaluator.py")
    install_replacement()
    prepare(program, evaluator)
    result = evaluate(load_evaluator(evaluator), program, chosen["thresholds"])
    print_artifacts(result)
    report(numbers(result.metrics) | {"score": fitness(result.metrics, chosen["features"])})
    sys.stdout.flush()
    sys.stderr.flush()
    # Do not wait for threads of the evaluator: some wait for programs that never end.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
