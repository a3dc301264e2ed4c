"""How many samples a night keeps in flight, and what it says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.night.samples_in_flight import samples_of_night
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.settings import Settings


def in_flight(conditions: dict[str, Any], *, slots: int = 0, before: int = 0, **sampling: Any) -> tuple[int, str]:
    settings = Settings.model_validate({"sampling": sampling})
    problem = SimpleNamespace(settings=settings)
    run: Any = SimpleNamespace(
        run=SimpleNamespace(problem=problem), cluster=object() if slots else None, slots=slots, samples_before=before
    )
    run.latency_s = None
    return samples_of_night(run, StopConditions.model_validate(conditions))


@pytest.mark.parametrize(
    ("given", "number", "said"),
    [
        ({"conditions": {"max_samples": 240}}, 8, "8 samples in flight, as about 240 are expected in all"),
        ({"conditions": {"max_samples": 240}, "before": 300}, 8, "8 samples in flight, as about 540 are expected"),
        ({"conditions": {}}, 16, "16 samples in flight, as nothing says how many are expected"),
        ({"conditions": {"max_samples": 9}, "concurrency": 64}, 64, "64 samples in flight, as sampling.concurrency"),
        ({"conditions": {}, "slots": 12}, 24, "24 samples in flight, 2 for each slot of the cluster"),
    ],
)
def test_it_follows_from_what_is_known_and_obeys_the_user(given: dict[str, Any], number: int, said: str):
    found, why = in_flight(**given)
    assert found == number
    assert why.startswith(said)
