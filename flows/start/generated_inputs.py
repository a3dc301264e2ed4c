"""Inputs that a problem's own function draws, each for a seed: in the sandbox, under the limits of candidates."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from overnight.flows.start.sandboxes import open_job, require_ran
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Call, Job
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem, Split
from overnight.tasks.evaluate.sandbox import Sandbox
from overnight.tasks.program.specification import Specification

INPUTS_OF_AGENTS = 20
"""Most inputs that are drawn for agents to try programs on."""

_OF_AGENTS = range(100)
"""Seeds of these inputs."""

_UNKNOWN = range(1_000, 2**31)
"""Seeds of inputs that programs must not know; all kinds of random generators take them."""

_INPUT_S, _TOTAL_S = 10.0, 120.0
"""Longest time to draw one input, and processor time to draw all of a split, seconds: a busy machine adds none."""


@dataclass
class Generator:
    """A sandbox that draws inputs of a problem.

    Attributes:
        seconds: Processor time that drawing took so far.
    """

    specification: Specification
    pool: Sandbox
    seconds: float = 0.0

    def __call__(self, seed: int) -> Any:
        """Return the input for a seed, as it may stand in `inputs`.

        Raises:
            SpecificationError: If the seed leads to no input.
            SandboxUnavailable: If the sandbox failed.
        """
        specification = self.specification
        verdict = require_ran(self.pool.evaluate(specification.input_program(seed)))
        self.seconds += verdict.cpu_s
        where = f"`{specification.generator}` draws no input for the seed {seed}"
        if not verdict.is_scored:
            slow = f"Draw it in less than {_INPUT_S:g} s" if verdict.outcome is Outcome.TIMED_OUT else "Correct it"
            raise SpecificationError(f"{where}: {verdict.error}", remedy=f"{slow}, or take the mark off.")
        try:
            found = json.loads(verdict.drawing, parse_constant=_refuse)
            specification.call(found, f"the input for the seed {seed}")
        except (ValueError, RecursionError) as error:
            raise SpecificationError(f"{where}: {error}", remedy="Return numbers, text, lists or dicts.") from error
        return found


def unknown_seeds(count: int) -> range:
    """Return so many seeds in a row that no program can know: it has the generator, and could draw the inputs itself.

    Nothing that a program or an agent may learn or guess leads to them, so not the seed of the run either.
    """
    first = _UNKNOWN.start + secrets.randbelow(len(_UNKNOWN) - count)
    return range(first, first + count)


@contextlib.contextmanager
def open_generator(problem: Problem, run_id: str) -> Iterator[Generator]:
    """Start a sandbox that draws inputs of a problem; it is removed when the context is left."""
    specification = problem.specification
    if not isinstance(specification, Specification) or not specification.generator:
        raise SpecificationError(
            f"{problem.name} has no function that draws inputs",
            remedy="Mark one that takes a seed and returns an input: @funsearch.inputs",
        )
    with open_job(problem, problem.input_job(_INPUT_S), run_id, slots=1, ask=None) as pool:
        yield Generator(specification, pool)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def settle_inputs(problem: Problem, *, run_id: str) -> Problem:
    """Return a problem whose inputs are all listed, with those that its settings want drawn.

    Raises:
        SpecificationError: If one cannot be drawn, or is there already.
        SandboxUnavailable: If the sandbox failed.
    """
    wanted: dict[Split, int] = {
        "validation": problem.settings.generated.validation,
        "held_out": problem.settings.generated.held_out,
    }
    if not any(wanted.values()):
        return problem
    with open_generator(problem, run_id) as draw:
        for split, count in wanted.items():
            problem = _with_inputs(problem, split, _draw_all(problem, split, count, draw))
    settings = problem.settings.model_copy(update={"generated": type(problem.settings.generated)()})
    return replace(problem, settings=settings)


def settle_alike(problems: Sequence[Problem], *, run_id: str) -> list[Problem]:
    """Return problems that differ in their models alone, all with the same drawn inputs; raise as `settle_inputs`."""
    settled = settle_inputs(problems[0], run_id=run_id)
    same = {name: getattr(settled.settings, name) for name in ("validation", "held_out", "known", "generated")}
    return [replace(one, inputs=settled.inputs, settings=one.settings.model_copy(update=same)) for one in problems]


def _draw_all(problem: Problem, split: Split, count: int, draw: Generator) -> list[Any]:
    """Return so many new inputs of a split, for seeds that no program can know."""
    before, drawn = draw.seconds, list[Any]()
    known = {_key(call): f"one of `{name}`" for name, calls in problem.inputs.items() for call in calls}
    for seed in unknown_seeds(count):
        if draw.seconds - before > _TOTAL_S:
            raise SpecificationError(
                f"{len(drawn)} of {count} inputs for {split} were drawn in {_TOTAL_S:g} s",
                remedy=f"Draw fewer, --set generated.{split}={max(1, len(drawn))}, or make the drawing quicker.",
            )
        found = draw(seed)
        key = _key(problem.specification.call(found, split))
        if key in known:
            raise SpecificationError(
                f"the input drawn for the seed {seed} is {known[key]}",
                remedy=f"Draw all of it by the seed, or fewer inputs: --set generated.{split}={len(drawn)}",
            )
        known[key] = f"that for the seed {seed}, too"
        drawn.append(found)
    return drawn


def _key(call: Call) -> str:
    return json.dumps([call.args, call.kwargs], sort_keys=True)


def _with_inputs(problem: Problem, split: Split, drawn: Sequence[Any]) -> Problem:
    """Return a problem with further inputs of a split; a score known for the old ones is left out."""
    if not drawn:
        return problem
    settings, calls = problem.settings, tuple(problem.specification.call(one, split) for one in drawn)
    update: dict[str, Any] = {split: (*getattr(settings, split), *drawn)}
    if split == "held_out":
        update["known"] = settings.known.model_copy(update={"honesty_held_out": None})
    inputs = {**problem.inputs, split: (*problem.inputs[split], *calls)}
    return replace(problem, settings=settings.model_copy(update=update), inputs=inputs)


def job_on_drawn(problem: Problem, draw: Generator, seeds: Iterable[int], *, seed: int) -> Job:
    """Return the job that scores programs on inputs which are drawn, with the seed of a run."""
    calls = tuple(problem.specification.call(draw(number), f"the input for the seed {number}") for number in seeds)
    return replace(problem.job("train", seed), inputs=calls, thresholds=())


def job_for_agents(problem: Problem, draw: Generator, *, seed: int) -> Job:
    """Return the job that scores programs on inputs drawn for agents, of which the problem lists none.

    They are as many different ones as are drawn in time.

    Raises:
        SpecificationError: If an input cannot be drawn, or too many are listed.
    """
    listed, drawn = {_key(call) for calls in problem.inputs.values() for call in calls}, dict[str, Call]()
    for number in _OF_AGENTS:
        if draw.seconds > _TOTAL_S or len(drawn) == INPUTS_OF_AGENTS:
            break
        call = problem.specification.call(draw(number), f"the input for the seed {number}")
        if _key(call) not in listed:
            drawn.setdefault(_key(call), call)
    found = tuple(drawn.values())
    if not found and draw.seconds > _TOTAL_S:
        raise SpecificationError(f"no new input was drawn in {_TOTAL_S:g} s", remedy="Make the drawing quicker.")
    if not found:
        raise SpecificationError("all inputs that are drawn are listed already", remedy="Draw others.")
    return replace(problem.job("train", seed), inputs=found, thresholds=())


def describe_generator(problem: Problem, run_id: str) -> str:
    """Return what a problem's function that draws inputs does, in words, after it has drawn a few.

    Raises:
        SpecificationError: If it fails, repeats itself, or gives another input for the same seed.
    """
    specification = problem.specification
    with open_generator(problem, run_id) as draw:
        drawn = [specification.call(draw(seed), "the input") for seed in (0, 1, 2, 0)]
    name, keys = f"`{specification.generator}`", [_key(call) for call in drawn]
    if keys[0] != keys[-1]:
        raise SpecificationError(f"{name} draws two inputs for the seed 0", remedy="Draw all of it by the seed.")
    if len(set(keys)) < len(keys) - 1:
        raise SpecificationError(f"{name} draws the same input for several seeds", remedy="Draw it by the seed.")
    return f"`{specification.run}` may have further inputs, drawn by {name}: such as ({drawn[0]}) for the seed 0"
