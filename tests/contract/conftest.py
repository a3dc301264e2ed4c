"""Fixtures of the suites that every sandbox backend passes: they run over all backends that are registered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from overnight.schemas.job import Job
from overnight.tasks.evaluate.pool import SandboxPool, open_pool
from overnight.tasks.evaluate.registry import backend_names, create_backend

Start = Callable[..., SandboxPool]

on_processes: Start = partial(open_pool, backend="process", image="", slots=1)
"""Opens a pool of plain processes, for what the runner does: it is the same file in each backend, and starts sooner."""

BACKENDS = [
    pytest.param(name, marks=pytest.mark.docker) if name == "docker" else name for name in reversed(backend_names())
]
"""All backends; the one that is quick comes first."""


@pytest.fixture(scope="module", params=BACKENDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    return request.param


@pytest.fixture(scope="module")
def is_confined(kind: str) -> bool:
    """Whether candidates may be harmful: they are users of their own, apart from this machine."""
    return create_backend(kind).own_users


@pytest.fixture(scope="module")
def start(kind: str, sandbox_image: str) -> Start:
    """Starts a pool of the backend for a job."""

    def start(job: Job, slots: int = 1) -> SandboxPool:
        return open_pool(job, backend=kind, image=sandbox_image, slots=slots)

    return start
