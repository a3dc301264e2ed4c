"""The history backends: from the place that a user names to the backend that keeps a history there.

URLs of schemes that are not ours belong to a plug-in of the kind `histories`, whose name is the scheme; without one, to
fsspec.
"""

from __future__ import annotations

import os
from pathlib import Path

from overnight.schemas import plugins
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.local_backend import MARKER, LocalBackend


def open_history(location: str) -> HistoryBackend:
    """Return the backend of a history; it reads and writes nothing of the history yet.

    Args:
        location: A directory, or a URL such as `s3://bucket/prefix`.

    Raises:
        UsageError: If the URL is invalid, or the directory is marked as a copy that this machine does not keep.
        EnvironmentFault: If the copy of a history on object storage cannot be created, or a plug-in cannot be loaded.
    """
    scheme, separator, rest = location.partition("://")
    if not separator:
        scheme, rest = "file", location
    if scheme == "file" and not os.path.lexists(Path(rest) / MARKER):
        return LocalBackend(Path(rest))
    from overnight.tasks.history.remote.backend import MirroredBackend, open_backend
    from overnight.tasks.history.remote.mirror import mirror_at
    from overnight.tasks.history.remote.object_store import NATIVE

    if scheme == "file":
        return MirroredBackend(mirror_at(Path(rest)))
    plugin = None if scheme in NATIVE else plugins.find("histories", scheme)
    return (plugin.load("open_backend") if plugin else open_backend)(location)
