"""A cascade: one small instance first, then larger ones."""

import importlib.util

from instances import instance
from openevolve.evaluation_result import EvaluationResult


def load(program_path):
    spec = importlib.util.spec_from_file_location("program", program_path)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program


def filled(program, number, size):
    items, capacity = instance(number, size)
    chosen = program.pack(items, capacity)
    if len(set(chosen)) < len(chosen) or sum(items[one][0] for one in chosen) > capacity:
        raise ValueError(f"instance {number} is not packed rightly")
    return sum(items[one][1] for one in chosen) / sum(value for _, value in items)


def evaluate_stage1(program_path):
    share = filled(load(program_path), 0, 20)
    return EvaluationResult(metrics={"combined_score": share, "small": share}, artifacts={"stage1": f"{share:.3f}"})


def evaluate_stage2(program_path):
    program = load(program_path)
    shares = [filled(program, number, 100) for number in range(1, 4)]
    return EvaluationResult(
        metrics={"combined_score": sum(shares) / len(shares)},
        artifacts={"shares": ", ".join(f"{s:.3f}" for s in shares)},
    )


def evaluate(program_path):
    return evaluate_stage2(program_path)
