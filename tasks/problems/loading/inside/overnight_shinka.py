"""Score a program with the `evaluate.py` of a ShinkaEvolve task, as ShinkaEvolve does; runs in the sandbox.

Its argument is the program's path. ShinkaEvolve need not be installed.
"""

import importlib.util
import json
import os
import runpy
import statistics
import sys
import time
import types

from overnight_bridge import prepare, report

RESULTS = os.path.abspath("overnight_results")


def run_shinka_eval(
    program_path,
    results_dir,
    experiment_fn_name,
    num_runs,
    get_experiment_kwargs=None,
    aggregate_metrics_fn=None,
    validate_fn=None,
    **other_options,
):
    """Run an experiment several times, one run after another; replaces the function in `shinka.core`.

    Returns:
        The metrics, whether all runs are correct, and the first error; `results_dir` gets them, too.
    """
    ignored = {"plotting_fn", "default_metrics_on_error", "run_workers", "max_workers_cap", "verbose"}
    if unused := sorted(name for name, value in other_options.items() if value is not None and name not in ignored):
        sys.stderr.write(f"run_shinka_eval: not used: {', '.join(unused)}\n")
    experiment = getattr(load_program(program_path), experiment_fn_name)
    results, seconds, errors, valid = [], [], [], 0
    for number in range(num_runs):
        arguments = get_experiment_kwargs(number) if get_experiment_kwargs else {"seed": number + 1}
        started = time.perf_counter()
        results.append(experiment(**arguments))
        seconds.append(time.perf_counter() - started)
        is_valid, error = validate_fn(results[-1]) if validate_fn else (True, None)
        valid += bool(is_valid)
        if not is_valid:
            errors.append(str(error or "invalid"))
    metrics = aggregate_metrics_fn(results) if aggregate_metrics_fn else {"num_successful_runs": len(results)}
    metrics.pop("extra_data", None)
    metrics["execution_time_mean"] = statistics.fmean(seconds) if seconds else 0.0
    metrics["execution_time_std"] = statistics.pstdev(seconds) if seconds else 0.0
    if validate_fn:
        metrics |= {"num_valid_runs": valid, "num_invalid_runs": len(errors)}
        metrics["all_validation_errors"] = list(dict.fromkeys(errors))
    error = f"Validation failed: {errors[0]}" if errors else None
    save_json_results(results_dir, metrics, not errors, error)
    return metrics, not errors, error


def load_program(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_json_results(results_dir, metrics, correct, error=None, **_others):
    os.makedirs(results_dir, exist_ok=True)
    for name, content in (("correct.json", {"correct": correct, "error": error}), ("metrics.json", metrics)):
        with open(os.path.join(results_dir, name), "w") as file:
            json.dump(content, file, default=to_json)


def to_json(value):
    """Return a numpy number as a float, anything else as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return str(value)


def install_replacement():
    """Make `from shinka.core import run_shinka_eval` work without ShinkaEvolve."""
    if importlib.util.find_spec("shinka") is not None:
        return
    package, core, wrap = (types.ModuleType(name) for name in ("shinka", "shinka.core", "shinka.core.wrap_eval"))
    package.__path__, core.__path__ = [], []
    package.core, core.wrap_eval = core, wrap
    for module in (core, wrap):
        module.run_shinka_eval, module.save_json_results = run_shinka_eval, save_json_results
        module.load_program = load_program
    sys.modules |= {module.__name__: module for module in (package, core, wrap)}


def evaluate(program):
    """Run the evaluator as a script; an exit code other than 0 ends this process, too."""
    sys.argv = ["evaluate.py", "--program_path", program, "--results_dir", RESULTS]
    try:
        runpy.run_path(os.path.abspath("evaluate.py"), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def read_result(name):
    with open(os.path.join(RESULTS, name)) as file:
        return json.load(file)


def main(program):
    install_replacement()
    prepare(program, "evaluate.py")
    evaluate(program)
    verdict, metrics = read_result("correct.json"), read_result("metrics.json")
    if not verdict.get("correct"):
        raise SystemExit(f"not correct: {verdict.get('error') or 'no reason given'}")
    report({name: value for name, value in metrics.items() if type(value) in (int, float)})
    if text := metrics.get("text_feedback"):
        sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main(sys.argv[1])
