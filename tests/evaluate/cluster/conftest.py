"""Fixtures for pools over fake machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tasks.evaluate.cluster import pool as module
from tasks.evaluate.cluster import slots as slots_module
from tasks.evaluate.cluster import stragglers
from tests.evaluate.cluster.fake_cluster import (
    Setting,
)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(module, "_LOOK_S", 0.005)
    monkeypatch.setattr(slots_module, "_WAIT_S", 0.01)
    with ExitStack() as stack:
        yield Setting(stack)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs straggle after hundredths of a second."""
    monkeypatch.setattr(module, "_LOOK_FOR_STRAGGLERS_S", 0.01)
    monkeypatch.setattr(stragglers, "_MIN_S", 0.02)
