"""Histories that several tests read and none changes."""

from __future__ import annotations

import pytest

from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.testing.made import create, grow


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run of eight generations with resets."""
    files = create(tmp_path_factory.mktemp("history"), islands=4, prompts=8)
    grow(files, 8, seed=5)
    return files


@pytest.fixture(scope="session")
def database(grown: RunFiles) -> Database:
    """SQL over that run."""
    return Database(grown.directory.parents[1])


@pytest.fixture(scope="session")
def no_history(tmp_path_factory: pytest.TempPathFactory) -> Database:
    """SQL over a history that has no run yet, and no folder."""
    return Database(tmp_path_factory.mktemp("no-history") / "nowhere")
