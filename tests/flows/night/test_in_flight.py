"""How many samples a night keeps in flight, and what it says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.night.samples_in_flight import said_of, samples_if_slow, samples_of_night
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.generation import NightRecord
from overnight.schemas.program import TUNER
from overnight.schemas.settings import Settings
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.journal import Journal
from overnight.testing.made import NOW, a_generation, a_judged, create


def a_new_run(slots: int = 0, search: dict[str, int] | None = None, **sampling: Any) -> Any:
    settings = Settings.model_validate({"sampling": sampling, "search": search or {}})
    return SimpleNamespace(
        run=SimpleNamespace(problem=SimpleNamespace(settings=settings), given=0),
        cluster=object() if slots else None,
        slots=slots,
        files=SimpleNamespace(uncommitted_journals=list, attempts=list),
        state=SimpleNamespace(generations=0),
    )


def in_flight(conditions: dict[str, Any], **more: Any) -> tuple[int, str]:
    return samples_of_night(a_new_run(**more), StopConditions.model_validate(conditions))


@pytest.mark.parametrize(
    ("given", "number", "said"),
    [
        ({"conditions": {"max_samples": 240}}, 8, "8 samples in flight, as the night takes at most 240;"),
        ({"conditions": {"max_samples": 5_000}}, 8, "8 samples in flight, as the night takes at most 5,000;"),
        ({"conditions": {"max_samples": 5_001}}, 16, "16 samples in flight, as the night takes at most 5,001;"),
        ({"conditions": {"generations": 20}}, 8, "8 samples in flight, as the night takes at most 960;"),
        (
            {"conditions": {"generations": 5}, "search": {"prompts": 3, "samples": 2}},
            8,
            "8 samples in flight, as the night takes at most 30;",
        ),
        (
            {"conditions": {"max_samples": 5_000, "generations": 2}},
            8,
            "8 samples in flight, as the night takes at most 96;",
        ),
        ({"conditions": {}}, 16, "16 samples in flight, as nothing limits their number;"),
        (
            {"conditions": {"budget_usd": 5.0, "max_tokens": 9}},
            16,
            "16 samples in flight, as nothing limits their number;",
        ),
        ({"conditions": {"max_samples": 3}}, 8, "3 samples in flight, as the night takes at most 3;"),
        (
            {"conditions": {"max_samples": 40}, "models": ["relay:answers"]},
            4,
            "4 samples in flight, as an answer may take minutes;",
        ),
        (
            {"conditions": {}, "models": ["agent:mini-swe-agent/openai/gpt-5"]},
            2,
            "2 samples in flight, as an answer may take minutes;",
        ),
        (
            {"conditions": {"max_samples": 40}, "models": ["relay:answers", "openai/gpt-5"]},
            8,
            "8 samples in flight, as the night takes at most 40;",
        ),
        ({"conditions": {"max_samples": 9}, "concurrency": 64}, 64, "64 samples in flight, as sampling.concurrency"),
        ({"conditions": {}, "slots": 12}, 24, "24 samples in flight, 2 for each slot of the cluster"),
    ],
)
def test_it_follows_from_what_is_known_and_obeys_the_user(given: dict[str, Any], number: int, said: str):
    found, why = in_flight(**given)
    assert found == number
    assert why.startswith(said)


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ({}, 4),
        ({"models": ["relay:answers", "openai/gpt-5"]}, 4),
        ({"models": ["relay:answers"]}, None),
        ({"models": ["agent:mini-swe-agent/openai/gpt-5"]}, None),
        ({"concurrency": 8}, None),
        ({"models": ["openai/gpt-5"], "batch_api": True}, None),
        ({"slots": 12}, None),
    ],
)
def test_slow_answers_make_few_samples_in_flight_unless_another_number_was_wanted(
    given: dict[str, Any], number: int | None
):
    assert samples_if_slow(a_new_run(**given)) == number


def test_a_night_says_from_when_on_few_are_in_flight_and_why():
    judged = a_judged("toy", 1, 0, scores=(1.0,))
    completion = replace(judged.candidate.completion, latency_s=200.0)
    slow = replace(judged, candidate=replace(judged.candidate, completion=completion))
    generation = a_generation(1, [slow], slow.program(), samples_in_flight=4)
    said = "4 samples in flight from now on, as an answer took 3 min 20 s; sampling.concurrency sets another number"
    assert said_of(generation) == said
    assert not said_of(replace(generation, samples_in_flight=None))


def a_run_of(history: Path, *latencies: float) -> Any:
    """Return an open run with one generation, whose answers took so many seconds."""
    files = create(history)
    judged = [a_judged(files.run_id, 1, place, scores=(1.0, 1.0)) for place in range(len(latencies))]
    answered = [
        replace(one, candidate=replace(one.candidate, completion=replace(one.candidate.completion, latency_s=latency)))
        for one, latency in zip(judged, latencies, strict=True)
    ]
    record.commit(files, a_generation(1, answered, answered[0].program()))
    return SimpleNamespace(
        files=files,
        run=stored_run.read_run(files),
        cluster=None,
        state=SimpleNamespace(generations=1, has_ended=lambda _: True),
    )


def test_a_run_whose_answers_took_minutes_goes_on_with_few_in_flight(tmp_path: Path):
    conditions = StopConditions(max_samples=40)
    number, why = samples_of_night(a_run_of(tmp_path / "slow", 40.0, 200.0, 190.0), conditions)
    assert (number, why.split(";")[0]) == (4, "4 samples in flight, as an answer took 3 min 10 s before")
    assert samples_of_night(a_run_of(tmp_path / "quick", 1.0, 200.0, 50.0), conditions)[0] == 8
    assert samples_of_night(a_new_run(), conditions, latency_s=90.0)[0] == 4, "as `check` has measured"


def test_answers_of_a_killed_night_are_used_with_as_many_in_flight_as_they_were_asked_with(tmp_path: Path):
    """With another number, prompts would see other results: they would be others, and paid for again."""
    run = a_run_of(tmp_path, 1.0)
    record.write_night(run.files, NightRecord(1, NOW, 0.0, 0.0, "start", samples_in_flight=16))
    answer = a_judged("toy", 2, 0, scores=(1.0,)).candidate.completion
    journal = Journal(run.files.journal(2), run.files.backend)
    journal.record([replace(answer, model=TUNER)])
    assert samples_of_night(run, StopConditions(max_samples=40))[0] == 8, "the tuner's is bought from nobody"
    journal.record([answer])
    number, why = samples_of_night(run, StopConditions(max_samples=40))
    assert (number, why) == (16, "16 samples in flight, as in the night before, whose answers are used")


def test_answers_of_a_night_that_went_on_with_few_in_flight_are_used_with_as_few(tmp_path: Path):
    run = a_run_of(tmp_path, 1.0)
    judged = a_judged(run.files.run_id, 2, 0, scores=(1.0, 1.0))
    record.commit(run.files, a_generation(2, [judged], judged.program(), samples_in_flight=4))
    record.write_night(run.files, NightRecord(1, NOW, 0.0, 0.0, "start", samples_in_flight=16))
    journal = Journal(run.files.journal(3), run.files.backend)
    journal.record([a_judged("toy", 3, 0, scores=(1.0,)).candidate.completion])
    assert samples_of_night(run, StopConditions(max_samples=40))[0] == 4
