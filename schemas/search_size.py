"""Settings of the search that follow from its size: few prompts in flight for few samples, more for many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIZES: tuple[tuple[int, Mapping[str, Any]], ...] = (
    (250, {"prompts": 24, "samples": 1, "window": 4}),
    (1_000, {"prompts": 48, "samples": 1, "window": 8}),
    (5_000, {"prompts": 48, "samples": 1, "window": 16}),
)
"""Largest number of samples, and the settings up to it; for more, or an unknown number, the defaults hold."""


def settings_by_size(expected_samples: object) -> Mapping[str, Any]:
    """Return the settings of `search` for a run of so many samples; empty where the usual defaults hold."""
    if not isinstance(expected_samples, int):
        return {}
    return next((settings for limit, settings in _SIZES if expected_samples <= limit), {})
