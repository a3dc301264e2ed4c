"""Fixtures for pools over fake machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from overnight.tasks.evaluate.cluster import cluster_pool as module
from overnight.tasks.evaluate.cluster import slots as slots_module
from tests.evaluate.cluster.fake_cluster import (
    Setting,
)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(module, "_LOOK_S", 0.005)
    monkeypatch.setattr(slots_module, "_WAIT_S", 0.01)
    with ExitStack() as stack:
        yield Setting(stack)
