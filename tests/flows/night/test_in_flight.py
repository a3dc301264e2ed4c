"""How many samples a night keeps in flight, and what it says of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from overnight.flows.night.samples_in_flight import samples_of_night
from overnight.flows.night.stop_conditions import StopConditions
from overnight.schemas.settings import Settings


def in_flight(
    conditions: dict[str, Any], *, slots: int = 0, search: dict[str, int] | None = None, **sampling: Any
) -> tuple[int, str]:
    settings = Settings.model_validate({"sampling": sampling, "search": search or {}})
    run: Any = SimpleNamespace(
        run=SimpleNamespace(problem=SimpleNamespace(settings=settings)),
        cluster=object() if slots else None,
        slots=slots,
    )
    return samples_of_night(run, StopConditions.model_validate(conditions))


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
