"""Registry of history backends: from the place that a user names to the backend that keeps a history there."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.local_backend import MARKER

MODULES = {"file": "overnight.tasks.history.local_backend"}
"""Module of each backend by the scheme of its URLs; it has a function `open_backend`, which takes the URL."""

_REMOTE = "overnight.tasks.history.remote.backend"
"""Module for all other schemes."""


def open_history(location: str) -> HistoryBackend:
    """Return the backend of a history; it reads and writes nothing of the history yet.

    Args:
        location: A directory, or a URL such as `s3://bucket/prefix`.

    Raises:
        UsageError: If the URL is invalid, or the directory is marked as a copy that this machine does not keep.
        EnvironmentFault: If the copy of a history on object storage cannot be created.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        scheme, rest = "file", location
    if scheme == "file" and os.path.lexists(Path(rest) / MARKER):
        return import_module(_REMOTE).open_copy(Path(rest))
    return import_module(MODULES.get(scheme, _REMOTE)).open_backend(f"{scheme}://{rest}")
