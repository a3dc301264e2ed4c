"""The product's tuner on programs of simulated problems, evaluated in this process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overnight.flows.night.tuning import tuned_problem
from overnight.schemas.completion_source import Sample
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import TUNER, Prompt
from overnight.schemas.sampling_settings import Model
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.tune.source import Inputs, TunerSource
from tests.bench.simulated.problems import SimulatedProblem

FAULTS = (ArithmeticError, AttributeError, LookupError, NameError, RuntimeError, SyntaxError, TypeError, ValueError)
"""The errors that a program of a simulated model, or a mutated one, may raise."""


@dataclass(frozen=True)
class InProcessTrials:
    """Evaluates bodies for the tuner, in this process."""

    problem: SimulatedProblem
    skeleton: Skeleton

    def has(self, inputs: Inputs) -> bool:
        """Return whether there are more inputs than those of training; there are none."""
        return inputs == "train"

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        """Evaluate a body at once."""
        verdict: Future[Verdict] = Future()
        try:
            score = self.problem.evaluate(self.skeleton.program(body).main)
            verdict.set_result(Verdict(Outcome.SCORED, (score,)))
        except FAULTS as error:
            verdict.set_result(Verdict(Outcome.CRASHED, error=str(error)))
        return verdict


def load_simulated(problem: SimulatedProblem, settings: Mapping[str, Any]) -> Problem:
    """Load the task directory of a problem, with some settings, for one chat model."""
    sampling = {**settings.get("sampling", {}), "models": [Model(name="openai/simulated").model_dump()]}
    with tempfile.TemporaryDirectory() as folder:
        return load_problem(problem.write(Path(folder) / problem.name), {**settings, "sampling": sampling})


def tuned_gap(problem: SimulatedProblem, body: str, seed: int) -> float:
    """Return the gap between a program and the optimum after its numbers were tuned, with the product's defaults."""
    loaded = load_simulated(problem, {})
    skeleton = loaded.specification
    tuner = TunerSource(tuned_problem(loaded), InProcessTrials(problem, skeleton), loaded.settings.tuner)
    prompt = Prompt(0, "0", ("best",), TUNER, "chat", "", (seed,), base=body, operator=Operator.TUNE)
    (completion,) = tuner.submit([Sample(prompt, 0)], lambda _: None).result()
    parsed = codec_of(skeleton.kind).parse(completion.text, skeleton, 1, body)
    bodies = [body] if parsed.verdict is not None else [body, parsed.body]
    return min(problem.gap(problem.evaluate(skeleton.program(one).main)) for one in bodies)
