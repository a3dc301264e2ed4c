"""Audit of a scoring: it is tried with programs that should not win, and a winner under other circumstances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from overnight.flows.formatting import score as score_text
from overnight.flows.start.generated_inputs import job_on_drawn, open_generator, unknown_seeds
from overnight.flows.start.sandboxes import image_of, open_job, open_sandboxes, require_ran, slots_of
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_SCORE
from overnight.schemas.question import Ask
from overnight.schemas.scores import reduced
from overnight.tasks.evaluate.pool import SandboxPool
from overnight.tasks.program.probes import Probe, empty_answers, endless, nonsense, with_memory
from overnight.tasks.program.specification import Specification

_NONSENSE = 8
"""Variants of a winner that are tried."""

_ENDLESS_S = 3.0
_QUICK_S = 1.0
"""Seconds of an input from which on the quick part leaves out programs that work with their arguments."""

_QUICK_CONFIRMATION_S = 5.0
"""Seconds of a confirmation from which on the quick part confirms none of them."""

_FEWEST_FRESH, _MOST_FRESH = 5, 20
"""Number of inputs that are drawn to try a winner on, by that of the training inputs."""

_RUN = "audit"

Result = Literal["ok", "note", "look", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        result: `ok`; `note`, a fact to know; `look` if it is suspicious; `wrong` if a program wins that should not.
        remark: Its meaning, where it is not `ok`.
    """

    tried: str
    came: str
    result: Result = "ok"
    remark: str = ""


@dataclass(frozen=True)
class Base:
    """The program that others are compared with, named in words, and the score of the start program."""

    name: str
    body: str
    verdict: Verdict
    start: float
    ask: Ask | None = None

    def score(self, problem: Problem) -> float:
        found = reduced(self.verdict.scores, problem.settings.reducer)
        return self.start if found is None else found


def quick_audit(
    problem: Problem, start: Verdict, *, confirmation_s: float = 0.0, ask: Ask | None = None
) -> list[Finding]:
    """Try programs that do no work on the first input; nothing for a problem that has no evolved functions.

    Where the start program takes long, programs that return an argument would, too, and are left out. Where a
    confirmation takes many seconds, what these programs score is believed.
    """
    if not isinstance(problem.specification, Specification):
        return []
    first = replace(start, scores=start.scores[:1], input_wall_s=start.input_wall_s[:1])
    base = Base("the start program", problem.specification.start_body, first, _score(first, problem), ask)
    with open_sandboxes(problem, "train", seed=0, run_id=_RUN, inputs=1, ask=ask) as pool:
        confirms = confirmation_s < _QUICK_CONFIRMATION_S
        return list(_without_work(problem, pool, base, 0, is_quick=True, confirms=confirms))


def audit(
    problem: Problem, body: str, name: str, *, seed: int, note: Callable[[str], None], ask: Ask | None = None
) -> Iterator[Finding]:
    """Try the scoring of a problem, and one program of it, a winner or the start program, named in words.

    Each finding is yielded as soon as it is known, so that those of an audit which is cut short are not lost.

    Raises:
        SandboxUnavailable: If the sandbox failed.
    """
    image_of(problem, note)
    specification = problem.specification
    with open_sandboxes(problem, "train", seed=seed, run_id=_RUN, ask=ask) as pool:
        start = _score(require_ran(pool.evaluate(specification.start_program)), problem)
        verdict = require_ran(pool.evaluate(specification.program(body)))
        base = Base(name, body, verdict, start, ask)
        if verdict.is_scored:
            yield from _elsewhere(problem, base, seed)
        elif body == specification.start_body and specification.is_stub:
            yield Finding("a search that begins without a program", "nothing to try again, until there is a best")
        else:
            came = f"{verdict.outcome.value}: {verdict.error}"
            yield Finding(f"{name} once more", came, "wrong", "it has no score")
            return
        if isinstance(specification, Specification):
            note("trying programs that do no work")
            yield from _without_work(problem, pool, base, seed)
            if verdict.is_scored and specification.generator:
                note("trying inputs that nobody has seen")
                yield _on_fresh_inputs(problem, base, seed)
            if verdict.is_scored:
                yield from _with_memory(problem, specification, pool, base)
            yield _endless(problem, specification, base, seed)
            if body != specification.start_body:
                note("trying the winner with parts turned around")
                yield from _turned(problem, specification, pool, base, seed)


def _score(verdict: Verdict, problem: Problem) -> float:
    score = reduced(verdict.scores, problem.settings.reducer) if verdict.is_scored else None
    return NO_SCORE if score is None else score


def _evaluated(problem: Problem, pool: SandboxPool, probes: Sequence[Probe]) -> Iterator[tuple[Probe, Verdict]]:
    """Yield the verdict of each program, in order, as soon as it is there."""
    programs = [problem.specification.program(probe.body) for probe in probes]
    with ThreadPoolExecutor(slots_of(problem), "overnight-audit") as threads:
        try:
            yield from zip(probes, threads.map(pool.evaluate, programs), strict=True)
        except BaseException:
            pool.close()  # so that nobody waits for the programs under way
            raise


def _without_work(
    problem: Problem, pool: SandboxPool, base: Base, seed: int, *, is_quick: bool = False, confirms: bool = True
) -> Iterator[Finding]:
    assert isinstance(problem.specification, Specification)
    own = problem.specification.start_body.strip(), base.body.strip()
    probes = [probe for probe in empty_answers(problem.specification) if probe.body.strip() not in own]
    if is_quick and sum(base.verdict.input_wall_s) > _QUICK_S:
        probes = [probe for probe in probes if not probe.uses_arguments]
    for probe, verdict in _evaluated(problem, pool, probes):
        tried = f"a program that {probe.name}"
        again = partial(_isolated, problem, probe.body, base.ask, seed, inputs=1 if is_quick else None)
        yield _judged(problem, base, tried, verdict, again if confirms else None)


def _judged(
    problem: Problem, base: Base, tried: str, verdict: Verdict, confirm: Callable[[], Verdict] | None
) -> Finding:
    """Return what a program that should not win came to; one that beats the start program is confirmed."""
    if not verdict.is_scored:
        came = f"{verdict.outcome.value}: {verdict.error}"[:120]
        if verdict.outcome is Outcome.SANDBOX_ERROR:
            return Finding(tried, came, "note", "it could not be tried here and now")
        return Finding(tried, came)
    score = _score(verdict, problem)
    if score <= base.start + problem.settings.noise:
        return Finding(tried, f"scores {score_text(score)}, no more than the start program")
    confirmed = confirm() if confirm else verdict
    if _score(confirmed, problem) <= base.start + problem.settings.noise:
        return Finding(tried, f"scores {score_text(score)}, and {confirmed.outcome.value} when it is confirmed")
    if problem.settings.objectives.searches_front:
        return Finding(tried, f"scores {score_text(score)}", "note", "the other objectives may pay for it")
    known = problem.settings.known.best_on("train")
    beaten = base.name if base.body != problem.specification.start_body and score >= base.score(problem) else ""
    is_whole = len(verdict.scores) == len(problem.inputs["train"])
    beaten = "the best known score" if known is not None and is_whole and score >= known else beaten
    if beaten:
        return Finding(
            tried, f"scores {score_text(score)}", "wrong", f"it is no worse than {beaten}: the scoring is fooled"
        )
    if base.start == NO_SCORE:
        return Finding(tried, f"scores {score_text(score)}", "note", "there is no start program to compare it with")
    return Finding(
        tried, f"scores {score_text(score)}", "look", f"more than the start program's {score_text(base.start)}"
    )


def _isolated(problem: Problem, body: str, ask: Ask | None, seed: int, *, inputs: int | None = None) -> Verdict:
    with open_sandboxes(
        problem, "train", seed=seed, run_id=_RUN, isolation=True, programs=1, inputs=inputs, ask=ask
    ) as pool:
        return pool.evaluate(problem.specification.program(body))


def _with_memory(problem: Problem, specification: Specification, pool: SandboxPool, base: Base) -> Iterator[Finding]:
    fails, alike = with_memory(specification, base.body)
    (_, failed), (_, same) = _evaluated(problem, pool, [fails, alike])
    if "was called before" in failed.error:
        which = "inputs" if "on input 1 of" not in failed.error and "on input" in failed.error else "calls"
        forgets = problem.settings.state == "none" and problem.settings.sandbox.confirm != "never"
        remark = "confirmations forget it" if forgets else "programs may use that"
        yield Finding("memory", f"a program can remember earlier {which}", "note", remark)
    else:
        yield Finding("memory", "nothing is remembered, or one call is all there is")
    if same.is_scored and _score(same, problem) > base.score(problem) + problem.settings.noise:
        text = f"scores {score_text(_score(same, problem))}, more than {base.name}"
        yield Finding(f"a program that {alike.name}", text, "look", "answering without looking pays")


def _endless(problem: Problem, specification: Specification, base: Base, seed: int) -> Finding:
    job = problem.job("train", seed).on_first(1)
    limits = job.limits.model_copy(update={"wall_s": min(_ENDLESS_S, job.limits.wall_s), "cpu_s": None})
    verdict = _on(problem, replace(job, limits=limits), endless(specification).body, base.ask)
    came = f"{verdict.outcome.value}: {verdict.error}"[:120]
    if verdict.outcome is Outcome.TIMED_OUT:
        return Finding("a program that does not end", came)
    return Finding("a program that does not end", came, "look", "it is not ended by its limit of time")


def _on_fresh_inputs(problem: Problem, base: Base, seed: int) -> Finding:
    """Compare a winner with the start program on inputs that the problem's function draws."""
    count = min(_MOST_FRESH, max(_FEWEST_FRESH, len(problem.inputs["train"])))
    tried = f"{base.name} on {count} inputs that nobody has seen"
    try:
        with open_generator(problem, _RUN) as draw:
            job = job_on_drawn(problem, draw, unknown_seeds(count), seed=seed)
    except SpecificationError as error:
        return Finding(tried, error.message, "look", error.remedy)
    verdict = _on(problem, job, base.body, base.ask)
    if not verdict.is_scored:
        came = f"{verdict.outcome.value}: {verdict.error}"[:120]
        return Finding(tried, came, "look", "it has a score on the problem's own inputs alone")
    reached = _score(verdict, problem)
    if base.body == problem.specification.start_body:
        return Finding(tried, f"scores {score_text(reached)}")
    start = _score(_on(problem, job, problem.specification.start_body, base.ask), problem)
    came = f"scores {score_text(reached)}, the start program {score_text(start)}"
    if base.score(problem) > base.start and reached <= start + problem.settings.noise:
        return Finding(tried, came, "look", "it is better on the training inputs alone")
    return Finding(tried, came)


def _on(problem: Problem, job: Job, body: str, ask: Ask | None) -> Verdict:
    with open_job(problem, job, _RUN, slots=1, ask=ask) as pool:
        return require_ran(pool.evaluate(problem.specification.program(body)))


def _elsewhere(problem: Problem, base: Base, seed: int) -> Iterator[Finding]:
    """Try the program with its inputs in another order, with another seed, and isolated."""
    job = problem.job("train", seed)
    there = replace(job, inputs=job.inputs[::-1], thresholds=())
    if len(job.inputs) > 1:
        verdict = _on(problem, there, base.body, base.ask)
        yield _same(problem, base, "its inputs in another order", replace(verdict, scores=verdict.scores[::-1]))
    yield _same(problem, base, "another seed", _on(problem, replace(job, seed=seed + 1), base.body, base.ask))
    if problem.specification.isolation:
        yield _same(problem, base, "functions in a process of their own", _isolated(problem, base.body, base.ask, seed))


def _same(problem: Problem, base: Base, how: str, verdict: Verdict) -> Finding:
    tried, noise = f"{base.name} with {how}", problem.settings.noise
    if not verdict.is_scored:
        return Finding(
            tried, f"{verdict.outcome.value}: {verdict.error}"[:120], "look", "it has a score only as it was"
        )
    pairs = list(zip(base.verdict.scores, verdict.scores, strict=False))
    worst = max((abs(one - other) for one, other in pairs), default=0.0)
    if worst <= noise + 1e-9 * max(1.0, abs(base.score(problem))):
        return Finding(tried, "the same scores")
    return Finding(tried, f"differs by up to {score_text(worst)} on an input", "look", "its score depends on it")


def _turned(
    problem: Problem, specification: Specification, pool: SandboxPool, base: Base, seed: int
) -> Iterator[Finding]:
    """Try variants of a winner in which a part is turned around: a score that survives most of them sees little."""
    variants = nonsense(specification, base.body, seed, _NONSENSE)
    if not variants:
        return
    results = list(_evaluated(problem, pool, variants))
    level = base.score(problem) - problem.settings.noise
    survived = [probe.name for probe, verdict in results if _score(verdict, problem) >= level]
    tried, came = f"{base.name} with one part turned around", f"{len(survived)} of {len(variants)} score as high"
    if 2 * len(survived) > len(variants):
        yield Finding(
            tried, came, "look", f"such as with {survived[0]}: those parts do nothing, or nobody looks at them"
        )
    else:
        yield Finding(tried, came)
