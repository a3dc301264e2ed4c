"""Settings of the search that follow from its size: few prompts in flight for few samples, more for many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WINDOWS = ((250, 4), (5_000, 8))
"""Largest numbers of samples, and `search.window` up to each; for more, or an unknown number, the default holds."""


def settings_by_size(expected_samples: object) -> Mapping[str, Any]:
    """Return the settings of `search` for a run of so many samples; empty where the usual defaults hold."""
    if not isinstance(expected_samples, int):
        return {}
    return next(({"window": window} for limit, window in _WINDOWS if expected_samples <= limit), {})
