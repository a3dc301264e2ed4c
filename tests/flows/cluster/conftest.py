"""A cluster on loopback that the nights of a test use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.cluster.choice import VARIABLE
from tests.flows.conftest import Night
from tests.machines import Machines, machines


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    folder = tmp_path / "machines"
    folder.mkdir()
    with machines(folder) as started:
        monkeypatch.setenv(VARIABLE, started.address)
        yield started


@pytest.fixture
def night(docker_night: Night) -> Night:
    """Nights here are real: their machines evaluate in containers."""
    return docker_night
