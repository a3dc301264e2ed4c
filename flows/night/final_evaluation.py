"""Final evaluation of a night: its best programs on inputs that the search has not used."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

from overnight.flows.formatting import cause_text, error_text, history_flag
from overnight.flows.night.finalists import Ranking
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.recorded_verdicts import RecordedFinalists
from overnight.flows.night.reporting import NightReporter
from overnight.flows.night.retry_policy import RetryPolicy
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.sandboxes import open_sandboxes, slots_of
from overnight.schemas.errors import Outage, QuestionUnanswered, SandboxUnavailable, TerminalProviderError
from overnight.schemas.generation import Finalist, RunRecord
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Split
from overnight.schemas.program import Program
from overnight.schemas.question import Ask
from overnight.schemas.scores import reduced
from overnight.tasks.evaluate.sandbox import Sandbox

_WALL_TIMES = 5
"""Limits of one evaluation's seconds that a final evaluation may take by itself: one on the validation inputs, and two
each for the confirmation and on the held-out inputs."""


def hold_final(run: OpenRun, reporter: NightReporter, conditions: StopConditions) -> tuple[Finalist, ...]:
    """Hold the final evaluation of a night, which waits for a lost engine, too, as long as the night may.

    Where a night has a deadline, it waits for slots that others hold no longer than the grace period.

    Raises:
        SandboxUnavailable: If the engine is still away at the deadline, or when the night is interrupted.
    """
    retries, progress, until = RetryPolicy(retries=0, failures=1), run.progress, conditions.until
    ends_by = None if until is None else max(until, datetime.now(UTC)) + _longest(run, conditions)
    while True:
        progress.enter("final")
        try:
            return judge_finalists(run, ends_by)
        except (QuestionUnanswered, TerminalProviderError) as error:
            reporter.say(f"warning: no final evaluation: {error.message}")
            return ()
        except Outage as error:
            again = f"overnight resume {run.run.run_id} --generations 1{history_flag(run.files.backend)}"
            if _is_past(ends_by):
                reporter.say(f"warning: no final evaluation in time; `{again}` holds it: {error.message}")
                progress.note(f"no final evaluation in time; `{again}` holds it")
                return ()
            if progress.interrupted or _is_past(until):
                raise SandboxUnavailable(
                    f"the final is undecided: {error.message}", remedy=f"`{again}` holds it again."
                ) from error
            retries.count(reporter.row.number, error, time.monotonic())
            _wait(run, reporter, retries, error, until)


def _wait(run: OpenRun, reporter: NightReporter, retries: RetryPolicy, error: Outage, until: datetime | None) -> None:
    """Wait, longer each time, until the deadline or an interruption at the latest."""
    progress, begin = run.progress, time.monotonic()
    progress.enter("paused")
    progress.note(retries.message(error_text(error), error, datetime.now(UTC), begin))
    reporter.note_pause(cause_text(error))
    while time.monotonic() < begin + retries.wait_s and not progress.interrupted and not _is_past(until):
        time.sleep(min(0.2, retries.wait_s))
    reporter.note_end_of_pause()
    progress.note("")


def _longest(run: OpenRun, conditions: StopConditions) -> timedelta:
    """Return how long a final evaluation may take after a deadline."""
    return timedelta(seconds=conditions.grace_s + _WALL_TIMES * run.run.problem.settings.limits.wall_s)


def _is_past(until: datetime | None) -> bool:
    return until is not None and datetime.now(UTC) >= until


def judge_finalists(
    run: OpenRun,
    ends_by: datetime | None = None,
    recorded: RecordedFinalists | None = None,
    ranking: Ranking | None = None,
) -> tuple[Finalist, ...]:
    """Evaluate the best programs by training score on the validation inputs, the winner and the start on the held-out.

    Where something was left out of the winner, the program before is evaluated, too, and stays the best if it is better
    on the held-out inputs.

    Return the finalists, best first, by the `ranking`, which is by default that of the settings. What is not done by
    `ends_by` is given up. In a replay, scores that time decided are those that were `recorded`.

    Raises:
        SandboxUnavailable: If the engine fails, which must not count against a finalist.
    """
    start = run.state.start
    ranking = ranking or Ranking.of(run.run.problem, start)
    candidates = ranking.finalists(run.state.programs.values())
    if not candidates:
        return ()
    scores = partial(scores_on, run.run, ask=run.ask, ends_by=ends_by, recorded=recorded)
    validation = scores("validation", candidates)
    order = ranking.ranked(candidates, validation)
    if ranking.needs_confirmation:
        order = _with_confirmed_winner(order, validation, scores, ranking)
    isolation = ranking.needs_confirmation or None
    original = run.state.programs.get(order[0].pruned_from) if run.run.problem.inputs["held_out"] else None
    if original is not None and original.id not in validation:
        validation |= scores("validation", [original], isolation=isolation)
    shown = {one.id: one for one in (order[0], original, start) if one is not None and one.is_scored}
    held_out = scores("held_out", list(shown.values()), isolation=isolation)
    if original is not None:
        order = ranking.beside_original(order, original, validation, held_out)
    return tuple(
        Finalist(program, program.score, validation.get(program.id), held_out.get(program.id)) for program in order
    )


def _with_confirmed_winner(
    order: list[Program], validation: dict[str, float], scores: Callable[..., dict[str, float]], ranking: Ranking
) -> list[Program]:
    """Confirm the first program on the validation inputs, and re-rank the programs until a confirmed one is first.

    Confirmation repeats the evaluation, isolated. The lower of both scores counts, and is set in `validation`; without
    a second score the program has none. The start program needs no confirmation.
    """
    rerun = {ranking.start.id}
    while (first := order[0]).id in validation and first.id not in rerun:
        rerun.add(first.id)
        confirmed_score = scores("validation", [first], isolation=True).get(first.id)
        claimed_score = validation.pop(first.id)
        if confirmed_score is not None:
            validation[first.id] = min(claimed_score, confirmed_score)
        order = ranking.ranked(order, validation)
    return order


def scores_on(
    run: RunRecord,
    split: Split,
    programs: Sequence[Program],
    *,
    isolation: bool | None = None,
    ask: Ask | None = None,
    ends_by: datetime | None = None,
    recorded: RecordedFinalists | None = None,
) -> dict[str, float]:
    """Evaluate programs on one split in a new sandbox; return scores by program id, without those that have none.

    Raises:
        SandboxUnavailable: If the engine fails, or it is not done by a time, such as while others hold all slots.
    """
    problem = run.problem
    if not problem.inputs[split]:
        return {}
    with (
        open_sandboxes(
            problem, split, seed=run.seed, run_id=run.run_id, isolation=isolation, programs=len(programs), ask=ask
        ) as sandbox,
        _closed_at(ends_by, sandbox),
        ThreadPoolExecutor(slots_of(problem)) as threads,
    ):
        sources = [problem.specification.program(program.body) for program in programs]
        verdicts = list(threads.map(sandbox.evaluate, sources))
        # What the others left too little processor time for is evaluated again by itself.
        verdicts = [
            sandbox.evaluate(source) if verdict.outcome is Outcome.SANDBOX_ERROR else verdict
            for source, verdict in zip(sources, verdicts, strict=True)
        ]
    if _is_past(ends_by) and any(verdict.outcome is Outcome.SANDBOX_ERROR for verdict in verdicts):
        raise SandboxUnavailable(
            f"the programs were not all evaluated on the {split} inputs in time: the sandbox was closed",
            remedy="Other nights on this machine may hold its slots; `overnight resume` holds it again.",
        )
    scores: dict[str, float] = {}
    for program, verdict in zip(programs, verdicts, strict=True):
        score = reduced(verdict.scores, problem.settings.reducer)
        if recorded is not None:
            score = recorded.score(split, program, verdict, score)
        if score is not None:
            scores[program.id] = score
    return scores


@contextlib.contextmanager
def _closed_at(ends_by: datetime | None, sandbox: Sandbox) -> Iterator[None]:
    """Close a sandbox at a time, unless the context ends before it."""
    if ends_by is None:
        yield
        return
    timer = threading.Timer(max(0.0, (ends_by - datetime.now(UTC)).total_seconds()), sandbox.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
