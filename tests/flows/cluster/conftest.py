"""A cluster on loopback that the nights of a test use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cluster.choice import VARIABLE
from tests.machines import Machines, machines


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    folder = tmp_path / "machines"
    folder.mkdir()
    with machines(folder) as started:
        monkeypatch.setenv(VARIABLE, started.address)
        yield started
