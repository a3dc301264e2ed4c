"""Let one machine at a time write a run on object storage, by a lease that expires after a crash."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from overnight.schemas.errors import EnvironmentFault, OvernightError, RunIsBusy, StoreUnavailable
from overnight.tasks.history.remote.object_store import ObjectStore

SECONDS = 60.0
"""Seconds without renewal after which a claim expires."""

_TAKEN_AGAIN = "The night takes the claim again and repeats what failed; if another machine has the run, it ends."

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Clock that also runs while the machine is suspended, as other machines' claims do."""


class Claim(BaseModel):
    """Content of a claim.

    Attributes:
        seconds: Seconds without renewal after which it expires.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    process: int
    seconds: float


class Lease:
    """Claim on a run, renewed in the background until it is released.

    Object storage has no locks. Each contender writes an object of its own and then lists those of the others: if one
    is live, it withdraws. Two contenders may both withdraw, but never both hold the run. Ages are computed from the
    store's clock alone.

    Args:
        name: Name of this contender, unique to a copy of the history. The kernel lets one process at a time lock a run
            in a copy, so a process may take over the claim of a killed one.
    """

    def __init__(self, store: ObjectStore, folder: str, name: str) -> None:
        self._store = store
        self._folder = folder
        self._key = f"{folder}/{name}"
        self._claim = Claim(host=socket.gethostname(), process=os.getpid(), seconds=SECONDS)
        self._renewed_at = float("-inf")
        self._writing = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="overnight-lease", daemon=True)

    def take(self) -> None:
        """Take the lease.

        Raises:
            RunIsBusy: If another contender holds it.
            StoreUnavailable: If the store does not answer.
        """
        with self._writing:
            begin = time.clock_gettime(_CLOCK)
            self._put()
            try:
                self._contend()
            except OvernightError:
                self._withdraw()
                raise
            self._renewed_at = begin
        if self._thread.ident is None:
            self._thread.start()

    def is_held(self) -> bool:
        """Return whether no other contender can have it yet; a quarter of its time is left for a write under way."""
        return time.clock_gettime(_CLOCK) - self._renewed_at < self._claim.seconds * 3 / 4

    def require(self) -> None:
        """Check that the lease has been held without a break.

        Raises:
            StoreUnavailable: If it had expired. It is taken again, but another machine may have held it meanwhile.
            RunIsBusy: If another contender holds it now.
        """
        if not self.is_held():
            self.take()
            raise StoreUnavailable(
                "the claim on the run had expired while the store did not answer", remedy=_TAKEN_AGAIN
            )

    def release(self) -> None:
        """Stop renewing the claim and remove it."""
        self._released.set()
        self._thread.join()
        self._renewed_at = float("-inf")
        self._withdraw()

    def _put(self) -> None:
        self._store.put(self._key, self._claim.model_dump_json().encode())

    def _contend(self) -> None:
        claims = self._store.list(self._folder)
        mine = claims.pop(self._key, None)
        if mine is None:
            raise StoreUnavailable(
                "the store took so long that another contender removed this one's expired claim", remedy=_TAKEN_AGAIN
            )
        if mine.changed_at is None:
            raise EnvironmentFault(
                f"{self._store.url}: the store does not say when an object was written",
                remedy="Overnight needs these times to keep two nights of one run apart; use another store.",
            )
        for key, entry in claims.items():
            if other := self._read(key):
                self._require_expired(other, mine.changed_at - (entry.changed_at or mine.changed_at))
        self._store.delete(claims)

    def _require_expired(self, other: Claim, age: timedelta) -> None:
        left = other.seconds - age.total_seconds()
        if left > 0:
            raise RunIsBusy(
                f"the run is under way on {other.host}, process {other.process}; last sign of life "
                f"{max(0.0, age.total_seconds()):.0f} s ago",
                remedy=f"Wait for it, or stop it there. If it was killed, try again in {left:.0f} s.",
            )

    def _withdraw(self) -> None:
        with suppress(EnvironmentFault):  # if the store does not answer, the claim expires by itself
            self._store.delete([self._key])

    def _read(self, key: str) -> Claim | None:
        try:
            return Claim.model_validate_json(self._store.get(key))
        except (FileNotFoundError, ValidationError):
            return None

    def _renew(self) -> None:
        while not self._released.wait(self._claim.seconds / 4):
            with self._writing:
                if not self.is_held():
                    continue
                begin = time.clock_gettime(_CLOCK)
                try:
                    self._put()
                except OvernightError:
                    continue  # retried; `require` raises the error if the claim expires meanwhile
                self._renewed_at = begin
