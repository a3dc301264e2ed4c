"""Lock a run for one night: on this machine, and wherever its history is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overnight.schemas.errors import RunIsBusy
from overnight.tasks.history.atomic_files import disk_errors
from overnight.tasks.history.file_lock import is_locked, lock
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.private_files import make_folder, open_private, require_plain_files


@contextmanager
def run_lock(files: RunFiles) -> Iterator[None]:
    """Hold the lock on a run within the context.

    A crash leaves no lock behind: the kernel releases the local one, and the lease on object storage expires.

    Raises:
        HistoryError: If something in the run's directory is neither a regular file nor a folder.
        RunIsBusy: If another process holds the lock, on this machine or another one.
        StoreUnavailable: If the run is on object storage that does not answer.
    """
    with locked_here(files), files.backend.hold(files.directory):
        files.remove_leftovers()
        yield


@contextmanager
def locked_here(files: RunFiles) -> Iterator[None]:
    """Hold the lock of this machine on a run within the context.

    Raises:
        HistoryError: If something in the run's directory is neither a regular file nor a folder.
        RunIsBusy: If another process, or another part of this one, holds it.
        EnvironmentFault: If it cannot be written, or its file system has no locks.
    """
    with disk_errors(files.directory / "lock"):
        make_folder(files.directory)
        require_plain_files(files.directory)
        handle = open_private(files.directory / "lock", "ab")
    with handle:
        try:
            lock(handle.fileno(), files.directory / "lock", waits=False)
        except BlockingIOError as error:
            raise _busy(files) from error
        yield


def _busy(files: RunFiles) -> RunIsBusy:
    return RunIsBusy(
        f"run {files.run_id} is under way in another process",
        remedy="Wait for it, or stop it: Ctrl-C where it runs, or Cancel in Prefect's UI.",
    )


@contextmanager
def lock_to_read(files: RunFiles) -> Iterator[None]:
    """Keep others from writing a run within the context, also where this process may not write it.

    Raises:
        RunIsBusy: If another process has it open.
    """
    if os.access(files.directory, os.W_OK):
        with run_lock(files):
            yield
    elif _is_locked(files.directory / "lock"):
        raise _busy(files)
    else:
        yield


@contextmanager
def night_lock(files: RunFiles, night: int) -> Iterator[None]:
    """Show that a night is under way on this machine within the context, also while nothing can be written."""
    path = files.night_log(night)
    with disk_errors(path):
        handle = open_private(path, "ab")
    with handle:
        lock(handle.fileno(), path)
        yield


def is_under_way(night: Path) -> bool:
    """Return whether the night of a row's file is under way on this machine."""
    return _is_locked(night.with_suffix(".log"))


def _is_locked(path: Path) -> bool:
    """Return whether somebody else holds the lock on a file, which is not changed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        return is_locked(descriptor)
    finally:
        os.close(descriptor)
