"""Uses the tool's own loop over runs, with a validation of each."""

import argparse

import numpy as np
from shinka.core import run_shinka_eval


def validate(result):
    amount, coins = result
    return (True, None) if sum(coins) == amount else (False, f"{sum(coins)} given for {amount}")


def aggregate(results):
    return {
        "combined_score": -float(np.mean([len(coins) for _, coins in results])),
        "public": {},
        "extra_data": results,
    }


def main(program_path, results_dir):
    run_shinka_eval(
        program_path=program_path,
        results_dir=results_dir,
        experiment_fn_name="run_experiment",
        num_runs=4,
        aggregate_metrics_fn=aggregate,
        validate_fn=validate,
        run_workers=2,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--program_path", default="initial.py")
    parser.add_argument("--results_dir", default="results")
    arguments = parser.parse_args()
    main(arguments.program_path, arguments.results_dir)
