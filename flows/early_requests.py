"""First requests of a night, sent while its Prefect server starts. Its first generation takes the answers over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from flows.generation_attempt import batches_of
from flows.session import Session
from flows.stop_conditions import StopConditions, Tally, reason_to_stop
from schemas.errors import OvernightError
from schemas.program import TUNER, Prompt
from tasks.sample.provider import require_prices


def ask_early(session: Session, rules: StopConditions) -> None:
    """Ask for the first prompts of a night that is about to begin, as far as its stop conditions allow.

    Completions are kept as any others, so that nothing is lost if the night does not begin. An error is left to the
    night, which meets it again.
    """
    if session.run.problem.settings.sampling.batch_api or not _may_begin(session, rules):
        return
    with contextlib.suppress(OvernightError):
        if rules.budget.is_in_usd:
            require_prices(session.run.problem.settings.sampling)
        session.probe_disk()
        session.control.announce(rules)
        session.progress.begin_night(rules.budget)
        number = session.state.generations + 1
        for prompts in _within(rules.max_samples, _first_prompts(session, number)):
            session.sampler.begin(number, prompts)


def _may_begin(session: Session, rules: StopConditions) -> bool:
    best, progress = session.state.best.score, session.progress
    tally = Tally(best=best, total_usd=progress.budget.total_usd, interrupted=progress.interrupted)
    is_impossible = session.run.problem.settings.known.is_beaten_by(best)
    return not is_impossible and reason_to_stop(rules, tally, datetime.now(UTC)) is None


def _first_prompts(session: Session, number: int) -> Iterator[list[Prompt]]:
    """Yield the batches of a generation all of whose prompts are due, as the generation itself forms them."""
    plans = session.state.plans(number)
    for batch in batches_of(session):
        if not all(index in plans for index in batch):
            return
        if due := {index: plan for index in batch if (plan := plans[index])}:
            yield session.prompts(number, due)


def _within(most: int | None, batches: Iterator[Sequence[Prompt]]) -> Iterator[Sequence[Prompt]]:
    """Yield batches of prompts to models until one would exceed the most samples of a night."""
    samples = 0
    for prompts in batches:
        samples += sum(prompt.samples for prompt in prompts)
        if most is not None and samples > most:
            return
        if all(prompt.model != TUNER for prompt in prompts):
            yield prompts
