"""The tuner's evaluations on a cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.cluster.open_cluster import open_cluster
from overnight.flows.night.tuning import RunTrials
from overnight.flows.start.sandboxes import open_sandboxes
from overnight.tasks.evaluate.evaluator import Evaluator
from overnight.tasks.problems.loading.load import load_problem
from tests.machines import Machines

LONG_S = 120


@pytest.mark.docker
def test_machines_evaluate_variants_on_training_inputs_and_the_head_on_validation_inputs(
    toy: Path, cluster: Machines, sandbox_image: str
):
    cluster.join("first", 2)
    settings = {"inputs": [1, 2, 3], "validation": [4], "sandbox": {"image": sandbox_image, "slots": 1}}
    run: Any = SimpleNamespace(problem=load_problem(toy, settings), seed=1, run_id="tests")
    skeleton = run.problem.specification
    with (
        open_cluster(lambda _: None) as opened,
        open_sandboxes(run.problem, "train", seed=1, run_id="tests") as sandbox,
        ThreadPoolExecutor(2) as threads,
    ):
        trials = RunTrials(run, Evaluator(sandbox, skeleton, set, lambda *_: None, threads), opened)
        first = trials.submit(skeleton.start_body, "first").result(LONG_S)
        validation = trials.submit(skeleton.start_body, "validation").result(LONG_S)
        trials.close()
    assert (first.machine, len(first.scores)) == ("first", 1)
    assert (validation.machine, len(validation.scores)) == ("", 1)
