"""One search on a simulated problem in this process: no container, no Prefect, no history on disk.

Plans, prompts, parsing and what an algorithm is told are the product's own; the evaluation is the problem's function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from overnight.flows.night.planning import Planner
from overnight.flows.night.samples_in_flight import samples_in_flight
from overnight.flows.night.tuning import tuned_problem
from overnight.flows.night.turns import prompts_in_flight, turns_of
from overnight.schemas.algorithm import Algorithm, PromptResult
from overnight.schemas.completion_source import Sample
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.generation import RunRecord
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Program, Prompt, idea_in
from overnight.tasks.sample.codecs import codec_of
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.operators.composer import Composer
from overnight.tasks.tune.source import TunerSource
from overnight.testing.made import turn_of
from tests.bench.simulated.model import SimulatedModel, prompt_tokens
from tests.bench.simulated.problems import SimulatedProblem
from tests.bench.simulated.trace import Trace
from tests.bench.simulated.tuning import FAULTS, InProcessTrials, load_simulated, tuned_gap


class SearchLoop:
    """A search with some algorithm and a model, answer by answer.

    Args:
        problem: The problem.
        model: The model that is asked.
        seed: Seed of the run.
        settings: Settings of the problem, as in a task's own file, such as `{"sampling": {"concurrency": 8}}`.
        create: Makes the algorithm from `search.algorithm`, the start program and the seed.
    """

    def __init__(
        self,
        problem: SimulatedProblem,
        model: SimulatedModel,
        seed: int,
        settings: Mapping[str, Any],
        create: Callable[..., Algorithm] = create_algorithm,
    ) -> None:
        self._simulated, self._model, self._seed, self._create = problem, model, seed, create
        loaded = load_simulated(problem, settings)
        self._problem, self._run = loaded, RunRecord("simulated", loaded, seed, _EPOCH, "", "", {})
        self._start = Program("start", loaded.specification.start_body, (problem.start_score,), problem.start_score)
        self._depths = {self._start.id: 0}
        self._known = {loaded.code_hash(self._start.body)}
        self._tuner = TunerSource(
            tuned_problem(loaded), InProcessTrials(problem, loaded.specification), loaded.settings.tuner
        )
        self._gaps: list[float] = []
        self._course: list[tuple[float, ...]] = []
        self._best = self._start
        self._tokens, self._scored, self._repeats = 0, 0, 0

    def run(self, answers: int) -> Trace:
        """Search until so many answers have been judged."""
        begin = time.monotonic()
        settings = self._problem.settings.search
        algorithm = self._create(settings.algorithm, self._start, self._seed)
        composer = Composer(self._problem, self._start, self._seed)
        planner, serial = Planner(self._run, algorithm, composer, lambda _: True), 0
        in_flight = self._problem.settings.sampling.concurrency or samples_in_flight(answers)
        planner.widen(prompts_in_flight(self._run, in_flight))
        while len(self._gaps) < answers:
            turn = turn_of(serial, self._run)
            plan = planner.plans.pop(turn)
            if plan is None:
                planner.tell(turn, [], None)
                serial += 1
                continue
            (prompt,) = build_prompts({turn.index: plan}, self._problem, seed=self._seed, generation=turn.generation)
            if prompt.operator == Operator.TUNE:
                samples, record = 1, self._tuned(prompt, serial)
            else:
                samples = min(prompt.samples, answers - len(self._gaps))
                judged = self._judge(prompt, serial * prompt.samples, samples)
                record = PromptRecord(plan.niche, prompt.operator, prompt.model, judged)
            is_last = turn.index == turns_of(self._run) - 1
            reset = is_last and settings.algorithm.is_reset_due(turn.generation)
            result = PromptResult(plan.niche, plan.base.id, samples, _programs(record))
            planner.tell(turn, [result], record, reset=reset)
            serial += 1
        tokens, scored, repeats, depths = np.array(self._course, dtype=np.float64).T
        tuned = tuned_gap(self._simulated, self._best.body, self._seed)
        return Trace(np.array(self._gaps), tokens, scored, repeats, depths, answers, time.monotonic() - begin, tuned)

    def _judge(self, prompt: Prompt, number: int, samples: int) -> tuple[Feedback, ...]:
        """Ask for the samples of a prompt, and return the judged answers."""
        answers = []
        request = {"messages": prompt.messages, "max_tokens": self._problem.settings.sampling.max_tokens}
        for k in range(samples):
            reply = self._model.answer(request, number + k)
            # A provider charges a prompt once, however many samples are asked of it.
            self._tokens += reply.tokens + (prompt_tokens(request) if reply.tokens and not k else 0)
            answers.append(self._learn(reply.text, prompt, f"{number + k}"))
            self._repeats += answers[-1].outcome is Outcome.DUPLICATE
            self._scored += answers[-1].outcome is Outcome.SCORED
            self._gaps.append(self._simulated.gap(self._best.score))
            self._course.append((self._tokens, self._scored, self._repeats, self._depths[self._best.id]))
        return tuple(answers)

    def _tuned(self, prompt: Prompt, number: int) -> PromptRecord:
        """Have numbers tuned, which asks no model, and return the judged answer."""
        (completion,) = self._tuner.submit([Sample(prompt, 0)], lambda _: None).result()
        answer = self._learn(completion.text, prompt, f"{number}-tuned")
        return PromptRecord(prompt.niche, prompt.operator, prompt.model, (answer,), evaluations=completion.evaluations)

    def _learn(self, text: str, prompt: Prompt, name: str) -> Feedback:
        """Parse and evaluate an answer; a scored one becomes a program."""
        answer = replace(self._answer(text, prompt), program_id=name, idea=idea_in(text))
        if answer.score is not None:
            self._depths[name] = self._depths[answer.parent_id] + 1
            self._best = max(self._best, _program(answer, answer.score), key=lambda program: program.score)
        return answer

    def _answer(self, text: str, prompt: Prompt) -> Feedback:
        skeleton, parents = self._problem.specification, prompt.parent_ids
        failed_id = parents[0] if prompt.operator == Operator.REPAIR else ""
        parsed = codec_of(skeleton.kind).parse(text, skeleton, len(parents), prompt.base)
        answer = Feedback(parents[-1], parsed.body, Outcome.SCORED, "", "", (), None, failed_id=failed_id)
        if parsed.verdict is not None:
            return replace(answer, outcome=parsed.verdict.outcome, error=parsed.verdict.error)
        code_hash = self._problem.code_hash(parsed.body)
        if code_hash in self._known and not self._problem.settings.search.algorithm.evaluates_duplicates:
            return replace(answer, outcome=Outcome.DUPLICATE)
        self._known.add(code_hash)
        return self._evaluated(answer)

    def _evaluated(self, answer: Feedback) -> Feedback:
        try:
            score = self._simulated.evaluate(self._problem.specification.program(answer.body).main)
        except FAULTS as error:
            return replace(answer, outcome=Outcome.CRASHED, error=f"{type(error).__name__}: {error}")
        return replace(answer, scores=(score,), score=score)


def _programs(record: PromptRecord) -> tuple[Program, ...]:
    return tuple(_program(one, one.score) for one in record.answers if one.score is not None)


def _program(answer: Feedback, score: float) -> Program:
    return Program(answer.program_id, answer.body, answer.scores, score)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
