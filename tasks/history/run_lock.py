"""A run held by one night: on this machine, and on the store where its history is kept on one."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from schemas.errors import EnvironmentFault, RunIsBusy
from tasks.history.atomic_files import disk_errors
from tasks.history.files import RunFiles
from tasks.history.private_files import make_folder, open_private, require_plain_files
from tasks.history.remote.mirror import held, mirror_of
from tasks.history.remote.sync import catch_up, tidy, tidy_paid


@contextmanager
def run_lock(files: RunFiles) -> Iterator[None]:
    """Holds the run for one night; a crash leaves no lock behind: the kernel drops it, and a store's runs out.

    Raises:
        HistoryError: If something in it is no file of its own.
        RunIsBusy: If another process holds it, here or on another machine.
        StoreUnavailable: If it is on a store that does not answer.
    """
    with _locked_here(files):
        mirror = mirror_of(files.directory)
        if mirror is None:
            files.sweep()
            yield
            return
        with held(mirror, files.directory) as hold:
            hold.is_unsure = True
            catch_up(files)
            files.sweep()
            try:
                yield
            finally:
                with suppress(EnvironmentFault):
                    tidy(files)
                    tidy_paid(files)


@contextmanager
def _locked_here(files: RunFiles) -> Iterator[None]:
    with disk_errors(files.directory / "lock"):
        make_folder(files.directory)
        require_plain_files(files.directory)
        handle = open_private(files.directory / "lock", "ab")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunIsBusy(
                f"run {files.run_id} is under way in another process",
                remedy="Wait for it, or stop it: Ctrl-C where it runs, or Cancel in Prefect's pages.",
            ) from error
        yield
