"""For tests of plug-ins: contracts of what others can add, a fake provider of models, and a finished history.

`pytest_plugins = ["overnight.testing"]` in a `conftest.py` gives the fixtures below. A contract is a class of tests, to
be subclassed in a test module: `AlgorithmContract` in `algorithms`, `SandboxContract` in `sandboxes`,
`HistoryBackendContract` in `histories`, `ProviderContract` in `completion_sources`, `ProblemFormatContract` in
`problem_formats`.

Overnight's own tests use the same code. Nothing of Overnight outside of this package imports it, or pytest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from overnight.tasks.history.files import RunFiles
    from overnight.testing.fake_provider import Provider


@pytest.fixture(scope="session")
def sandbox_image() -> str:
    """The image in which candidates run: that of OVERNIGHT_TEST_IMAGE, else the default."""
    return os.environ.get("OVERNIGHT_TEST_IMAGE", "overnight-sandbox:latest")


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider on loopback that speaks OpenAI's chat protocol and answers with mutated programs."""
    from overnight.testing.fake_provider import Provider

    with Provider() as running:
        yield running


@pytest.fixture
def finished_run(tmp_path: Path) -> RunFiles:
    """The files of a run of three generations and two nights, in a history of its own; some candidates have failed."""
    from overnight.testing.made import create, finish_nights, grow

    files = create(tmp_path / "history")
    grow(files, 3)
    finish_nights(files, 2)
    return files
