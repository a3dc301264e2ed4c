"""How many samples a night keeps in flight, and that generations overlap within this window.

What a prompt may see of them is tried in `test_core.py`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.night.samples_in_flight import expected_of_night, samples_in_flight, samples_of_night
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.settings import Settings
from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider, Request, says
from tests.flows.conftest import Night

WINDOW = 6


@pytest.mark.parametrize(
    ("conditions", "search", "samples"),
    [
        ({"max_samples": 150}, {}, 150),
        ({"generations": 20}, {}, 960),
        ({"max_samples": 5_000, "generations": 2}, {}, 96),
        ({"generations": 5}, {"prompts": 3, "samples": 2}, 30),
        ({"target": 1.0, "patience": 3, "budget_usd": 5.0}, {}, None),
    ],
)
def test_the_nearest_limit_on_samples_says_how_many(conditions: dict, search: dict, samples: int | None):
    settings = Settings.model_validate({"search": search})
    assert expected_of_night(settings, StopConditions.model_validate(conditions)) == samples


def test_a_small_search_keeps_few_samples_in_flight():
    assert [samples_in_flight(expected) for expected in (150, 5_000, 10**5, None)] == [8, 8, 16, 16]


@pytest.mark.parametrize(
    ("conditions", "slots", "sampling", "number", "said"),
    [
        ({"max_samples": 240}, 0, {}, 8, "8 samples in flight, as 240 are expected; sampling.concurrency sets"),
        ({}, 0, {}, 16, "16 samples in flight, as nothing says how many are expected"),
        ({"max_samples": 9}, 0, {"concurrency": 64}, 64, "64 samples in flight, as sampling.concurrency"),
        ({}, 12, {}, 24, "24 samples in flight, 2 for each slot of the cluster"),
        ({}, 0, {"batch_api": True}, 48, "prompts are sent in batches"),
    ],
)
def test_it_follows_from_what_is_known_and_obeys_the_user(
    conditions: dict, slots: int, sampling: dict, number: int, said: str
):
    problem = SimpleNamespace(settings=Settings.model_validate({"sampling": sampling}))
    run: Any = SimpleNamespace(run=SimpleNamespace(problem=problem), cluster=object() if slots else None, slots=slots)
    found, why = samples_of_night(run, StopConditions.model_validate(conditions))
    assert found == number
    assert why.startswith(said)


@pytest.mark.heavy
def test_a_straggler_holds_up_no_more_than_the_window_and_generations_overlap(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    """One of the first prompts is answered only after all others that the window allows have been asked."""
    asked = threading.Event()

    def straggler(number: int, request: Request) -> Any:
        if number == 1:
            assert asked.wait(60), "the others are asked meanwhile"
        if len(provider.requests) >= WINDOW:
            asked.set()
        return says(request, f"```python\ndef guess(offset):\n    return offset + 1.{number}\n```")

    provider.script = straggler
    asks["sampling"]["concurrency"] = WINDOW
    night(2, settings={**asks, "search": {"prompts": 4, "samples": 1}})
    overlap = Database(tmp_path).rows(
        "SELECT b.started_at < a.ended_at AS overlap FROM generations a JOIN generations b ON b.generation = 2 "
        "WHERE a.generation = 1"
    )
    assert overlap == [{"overlap": True}]
