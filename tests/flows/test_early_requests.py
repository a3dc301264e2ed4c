"""The first prompts of a night are asked before its Prefect server answers: once, and within all of its limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.create_run import create_run
from flows.early_requests import ask_early
from flows.search import search
from flows.session import Session, open_session
from flows.stop_conditions import StopConditions
from flows.trust import accept
from tasks.history.files import RunFiles
from tasks.history.local_backend import LocalBackend
from tasks.problems.loading.load import load_problem
from tests.provider import Provider

pytestmark = pytest.mark.docker

NewRun = Callable[..., RunFiles]
SAMPLES = 6
"""Samples of a generation of the toy problem."""


@pytest.fixture
def new_run(toy: Path, tmp_path: Path, asks: dict[str, Any], sandbox_image: str) -> NewRun:
    """Function that creates a run whose models are on loopback."""

    def create(**settings: Any) -> RunFiles:
        given = {"sandbox": {"image": sandbox_image, "slots": 1}, **asks, **settings}
        problem = load_problem(toy, given)
        accept(problem, given)
        return create_run(problem, toy, LocalBackend(tmp_path), seed=1, run_id="early")

    return create


@pytest.fixture
def session(new_run: NewRun) -> Iterator[Session]:
    with open_session(new_run()) as session:
        yield session


def asked(provider: Provider) -> int:
    """Return how many samples were asked for."""
    return sum(request.get("n", 1) for request in provider.requests)


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_the_night_takes_the_answers_over_and_buys_nothing_twice(new_run: NewRun, provider: Provider, tmp_path: Path):
    rules = StopConditions(generations=1)
    with open_session(new_run()) as session:
        ask_early(session, rules)
        session.sampler.finish(60)
        assert asked(provider) == SAMPLES
        assert session.progress.samples == SAMPLES
        search("early", str(tmp_path), rules)
        assert session.state.generations == 1
        assert session.progress.samples == SAMPLES
    assert asked(provider) == SAMPLES


@pytest.mark.prefect
@pytest.mark.usefixtures("prefect")
def test_answers_for_a_night_that_never_began_are_used_by_the_next(new_run: NewRun, provider: Provider, tmp_path: Path):
    files = new_run()
    with open_session(files) as session:
        ask_early(session, StopConditions(generations=1))
        session.sampler.finish(60)
    search("early", str(tmp_path), StopConditions(generations=1))
    assert asked(provider) == SAMPLES


@pytest.mark.parametrize(
    "rules",
    [
        {"target": -100.0},
        {"until": datetime(2026, 1, 1, tzinfo=UTC)},
        {"total_budget_usd": 0.0},
        {"budget_usd": 1.0},
        {"max_samples": 1},
    ],
    ids=lambda rules: next(iter(rules)),
)
def test_nothing_is_asked_where_a_stop_condition_forbids_it(
    session: Session, provider: Provider, rules: dict[str, Any]
):
    ask_early(session, StopConditions(**rules))
    session.sampler.finish(60)
    assert asked(provider) == 0


def test_whole_batches_are_asked_as_far_as_the_limit_on_samples_allows(session: Session, provider: Provider):
    ask_early(session, StopConditions(max_samples=SAMPLES - 1))
    session.sampler.finish(60)
    assert asked(provider) == SAMPLES - 2


def test_the_deadline_holds_for_what_is_asked_early(session: Session, provider: Provider):
    until = datetime.now(UTC) + timedelta(hours=1)
    ask_early(session, StopConditions(until=until, max_tokens=1))
    session.sampler.finish(60)
    assert session.control.until == until
    assert asked(provider) <= 2, "the budget in tokens holds, too: one request, and those beside it wait"


def test_nothing_is_asked_early_of_a_batch_api(new_run: NewRun, provider: Provider, asks: dict[str, Any]):
    asks["sampling"] |= {"batch_api": True}
    with open_session(new_run()) as session:
        ask_early(session, StopConditions(generations=1))
    assert provider.requests == []
