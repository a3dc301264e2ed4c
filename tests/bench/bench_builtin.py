"""The built-in model on built-in problems, in this process: no container, no Prefect, no confirmation, no clock.

    python -m tests.bench.bench_builtin [--answers 960] [--seeds 1-10] [--set search.algorithm=greedy] [PROBLEM…]

Plans, prompts, parsing, the tuner and what an algorithm is told are the product's own. Answers of the model count, what
the tuner evaluates does not. The winner is chosen on validation inputs, as at the end of a night.
"""

from __future__ import annotations

import argparse
import signal
import threading
import time
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np

from overnight.flows.cli.options import RunOptions
from overnight.flows.night.planning import Planner
from overnight.flows.night.samples_in_flight import samples_in_flight
from overnight.flows.night.tuning import tuned_problem
from overnight.flows.night.turns import prompts_in_flight, turns_of
from overnight.schemas.algorithm import PromptResult
from overnight.schemas.completion_source import Sample
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import RunRecord
from overnight.schemas.objectives import SCORE
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem, Split
from overnight.schemas.program import Program, Prompt, idea_in, program_of
from overnight.schemas.scores import reduced, reduced_metrics
from overnight.tasks.evaluate.runner.program import Program as LoadedProgram
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.front import FrontSearch
from overnight.tasks.select.operators.composer import Composer
from overnight.tasks.tune.source import Inputs, TunerSource
from overnight.testing.made import turn_of

MODEL = "builtin/mutate"
COLUMNS = ("problem", "seed", "train", "validation", "held out", "lines", "answers", "of the tuner", "s")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class TimedOut(Exception):
    """A program ran longer than the problem's limit."""


class Evaluations:
    """Evaluates bodies in this process, each once, and counts them.

    Attributes:
        metrics: Metrics of each body on the training inputs, beside its score.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._known: dict[tuple[str, Split, int | None], tuple[float, ...]] = {}
        self.metrics: dict[str, dict[str, float]] = {}

    def scores(self, body: str, split: Split, inputs: int | None = None) -> tuple[float, ...]:
        """The scores on the first inputs of a split, or all; none if the program fails."""
        key = (body, split, inputs)
        if key not in self._known:
            self._known[key] = ()
            with suppress(Exception), np.errstate(all="ignore"):
                self._known[key] = self._evaluate(body, split, inputs)
        return self._known[key]

    @property
    def signatures(self) -> list[tuple[float, ...]]:
        """Scores on all training inputs of the programs that have any, in the order of their evaluation."""
        return [
            scores for (_, split, inputs), scores in self._known.items() if scores and split == "train" and not inputs
        ]

    def score(self, body: str, split: Split) -> float | None:
        """The score on all inputs of a split; `None` if there are none, or the program fails."""
        return reduced(self.scores(body, split), self._problem.settings.reducer)

    def _evaluate(self, body: str, split: Split, inputs: int | None) -> tuple[float, ...]:
        skeleton, calls = self._problem.specification, self._problem.inputs[split][:inputs]
        if threading.current_thread() is threading.main_thread():  # which the signal interrupts; the tuner has its own
            signal.setitimer(signal.ITIMER_REAL, self._problem.settings.limits.wall_s * len(calls))
        try:
            (run,) = LoadedProgram(skeleton.program(body).main, 0).load([skeleton.run])
            found = [run(*call.args, **call.kwargs) for call in calls]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        values = [one if isinstance(one, dict) else {SCORE: one} for one in found]
        scores = tuple(float(one[SCORE]) for one in values)
        if split == "train" and len(calls) == len(self._problem.inputs[split]):
            beside = {name: [float(one[name]) for one in values] for name in values[0] if name != SCORE}
            self.metrics[body] = reduced_metrics(beside, self._problem.settings.reducer)
        return scores if np.isfinite(scores).all() else ()

    def has(self, inputs: Inputs) -> bool:
        """Return whether the tuner may evaluate on these inputs."""
        if inputs == "first":
            return len(self._problem.inputs["train"]) > 2
        return bool(self._problem.inputs[inputs])

    def submit(self, body: str, inputs: Inputs) -> Future[Verdict]:
        """Evaluate a body for the tuner, at once."""
        scores = self.scores(body, "train", 1) if inputs == "first" else self.scores(body, inputs)
        verdict = Future[Verdict]()
        verdict.set_result(Verdict(Outcome.SCORED, scores) if scores else Verdict(Outcome.CRASHED))
        return verdict


class Search:
    """A search with the built-in model on a built-in problem.

    Attributes:
        best: The first program with each signature.
        scored: All scored programs, in order.
    """

    def __init__(self, name: str, seed: int, settings: dict[str, Any]) -> None:
        self.problem = load_problem(find(name), settings)
        self.evaluations = Evaluations(self.problem)
        body = self.problem.specification.start_body
        scores = self.evaluations.scores(body, "train")
        score = reduced(scores, self.problem.settings.reducer) or 0.0
        self.start = Program("start", body, scores, score, metrics=self.evaluations.metrics[body])
        self.best = {scores: self.start}
        self.scored = [self.start]
        self.counts = Counter[str]()
        self._seed = seed
        self._known = {self.problem.code_hash(body)}
        self._tuner = TunerSource(tuned_problem(self.problem), self.evaluations, self.problem.settings.tuner)

    def run(self, answers: int) -> None:
        """Search until so many answers have been judged."""
        run = RunRecord("bench", self.problem, self._seed, _EPOCH, "", "", {})
        settings = self.problem.settings.search
        algorithm = create_algorithm(settings.algorithm, self.start, self._seed)
        if (objectives := self.problem.settings.objectives).searches_front:
            algorithm = FrontSearch(algorithm, objectives, self.start, self._seed)
        composer = Composer(self.problem, self.start, self._seed)
        planner, serial = Planner(run, algorithm, composer, lambda _: True), 0
        in_flight = self.problem.settings.sampling.concurrency or samples_in_flight(answers)
        planner.widen(prompts_in_flight(run, in_flight))
        while self.counts["answers"] < answers:
            turn = turn_of(serial, run)
            plan = planner.plans.pop(turn)
            serial += 1
            if plan is None:
                planner.tell(turn, [], None)
                continue
            (prompt,) = build_prompts({turn.index: plan}, self.problem, seed=self._seed, generation=turn.generation)
            record = self._tuned(prompt) if prompt.operator == Operator.TUNE else self._asked(prompt)
            children = tuple(program_of(one) for one in record.answers if one.scores)
            result = PromptResult(plan.niche, plan.base.id, len(record.answers), children)
            is_last = turn.index == turns_of(run) - 1
            reset = is_last and settings.algorithm.is_reset_due(turn.generation)
            planner.tell(turn, [result], record, reset=reset)

    def _asked(self, prompt: Prompt) -> PromptRecord:
        self.counts["answers"] += len(prompt.seeds)
        answers = tuple(
            self._judge(mutate(prompt.text, seed=seed, facts=prompt.system), prompt) for seed in prompt.seeds
        )
        return PromptRecord(prompt.niche, prompt.operator, prompt.model, answers)

    def _tuned(self, prompt: Prompt) -> PromptRecord:
        (completion,) = self._tuner.submit([Sample(prompt, 0)], lambda _: None).result()
        self.counts["tuning"] += completion.evaluations or 0
        answers = (self._judge(completion.text, prompt),)
        evaluations = completion.evaluations
        return PromptRecord(prompt.niche, prompt.operator, prompt.model, answers, evaluations=evaluations)

    def _judge(self, text: str, prompt: Prompt) -> Feedback:
        """Parse and evaluate an answer."""
        skeleton, parents = self.problem.specification, prompt.parent_ids
        parsed = codec_of(skeleton.kind).parse(text, skeleton, len(parents), prompt.base)
        name = f"{len(self._known)}/{prompt.index}"
        answer = Feedback(
            parents[-1], parsed.body, Outcome.SCORED, "", "", (), None, program_id=name, idea=idea_in(text)
        )
        if parsed.verdict is not None:
            return replace(answer, outcome=parsed.verdict.outcome, error=parsed.verdict.error)
        code_hash = self.problem.code_hash(parsed.body)
        if code_hash in self._known:
            return replace(answer, outcome=Outcome.DUPLICATE)
        self._known.add(code_hash)
        scores = self.evaluations.scores(parsed.body, "train")
        score = reduced(scores, self.problem.settings.reducer)
        if score is None:
            return replace(answer, outcome=Outcome.CRASHED)
        answer = replace(answer, scores=scores, score=score, metrics=self.evaluations.metrics[parsed.body])
        self.scored.append(program_of(answer))
        self.best.setdefault(scores, self.scored[-1])
        return answer

    def winner(self) -> Program:
        """The best finalist on the validation inputs, or else on those of training."""
        ranked = sorted(self.best.values(), key=lambda program: program.score, reverse=True)
        finalists = ranked[: self.problem.settings.finalists]
        validation = {one.id: self.evaluations.score(one.body, "validation") for one in finalists}
        return max(finalists, key=lambda one: (validation[one.id] or float("-inf"), one.score))


def stop(*_: object) -> None:
    """End a program at its limit."""
    raise TimedOut


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_builtin", description="Search in this process.")
    parser.add_argument("--answers", type=int, default=960, help="answers of the model")
    parser.add_argument("--seeds", default="1-3", help="first and last seed")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="e.g. tuner.enabled=false")
    parser.add_argument("--code", action="store_true", help="print the winners")
    parser.add_argument("problems", nargs="*", default=["bin-packing-or"], help="names of problems")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    first, _, last = options.seeds.partition("-")
    size = f"sampling.concurrency={samples_in_flight(options.answers)}"  # as `run` estimates it
    print(f"| {' | '.join(COLUMNS)} |\n|---|{'--:|' * (len(COLUMNS) - 1)}", flush=True)
    for name in options.problems:
        found = []
        for seed in range(int(first), int(last or first) + 1):
            begin = time.process_time()
            search = Search(name, seed, RunOptions(model=[MODEL], set=[size, *options.set]).settings())
            search.run(options.answers)
            winner = search.winner()
            found.append(winner.score)
            others = [search.evaluations.score(winner.body, split) for split in ("validation", "held_out")]
            cells = [name, seed, winner.score, *others, winner.body.strip().count("\n") + 1, search.counts["answers"]]
            cells += [search.counts["tuning"], time.process_time() - begin]
            print(f"| {' | '.join(f'{c:.6g}' if isinstance(c, float) else str(c) for c in cells)} |", flush=True)
            if options.code:
                print(winner.body, flush=True)
        print(f"| {name} | mean | {fmean(found):.6g} |", flush=True)


if __name__ == "__main__":
    main()
