"""How many samples a run is expected to take, and the settings of the search that follow from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from overnight.flows.night.samples_in_flight import MANY_IN_FLIGHT, samples_in_flight
from overnight.flows.night.stop_conditions import Forecast, StopConditions, expected_samples
from overnight.schemas.settings import Settings

NOW = datetime(2026, 11, 27, 22, 0, tzinfo=UTC)
MODEL = {"name": "openai/any", "input_usd": 1.0, "output_usd": 3.5}
PRICED = Settings.model_validate({"sampling": {"models": [MODEL]}})
FREE = Settings()


def expected(settings: Settings = FREE, **conditions: Any) -> int | None:
    in_flight = settings.sampling.concurrency or MANY_IN_FLIGHT
    return expected_samples(StopConditions.model_validate(conditions), Forecast(NOW, settings, in_flight))


@pytest.mark.parametrize(
    ("conditions", "samples"),
    [
        ({"max_samples": 150}, 150),
        ({"generations": 20}, 960),
        ({"max_tokens": 1_000_000}, 200),
        ({"until": NOW + timedelta(hours=8)}, 15_360),
        ({"max_samples": 5_000, "generations": 2}, 96),
        ({"until": NOW - timedelta(hours=1)}, 1),
    ],
)
def test_the_nearest_limit_says_how_many(conditions: dict[str, Any], samples: int) -> None:
    assert expected(**conditions) == samples


def test_generations_have_the_size_that_the_settings_give_them() -> None:
    settings = Settings.model_validate({"search": {"prompts": 3, "samples": 2}})
    assert expected(settings, generations=5) == 30


def test_a_budget_is_divided_by_the_usual_cost_of_a_sample() -> None:
    # 3,000 tokens for 1 USD a million and 2,000 for 3.50: a cent for each sample.
    assert expected(PRICED, budget_usd=5.0) == 500
    assert expected(PRICED, budget_usd=5.0, total_budget_usd=1.0) == 100


@pytest.mark.parametrize("conditions", [{}, {"target": 1.0}, {"patience": 3}, {"budget_usd": 5.0}])
def test_other_conditions_and_free_models_say_nothing(conditions: dict[str, Any]) -> None:
    assert expected(**conditions) is None


def test_answers_that_take_longer_leave_time_for_fewer() -> None:
    conditions = StopConditions(until=NOW + timedelta(hours=8))
    assert expected_samples(conditions, Forecast(NOW, FREE, 16, latency_s=120.0)) == 3_840


def test_a_small_search_keeps_few_samples_in_flight() -> None:
    assert [samples_in_flight(expected) for expected in (150, 5_000, 10**5, None)] == [8, 8, 16, 16]
