"""Whose turn it is to write a run that several machines can reach: a claim that a crash does not leave behind."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import EnvironmentFault, OvernightError, RunIsBusy, StoreUnavailable
from tasks.history.remote.object_store import ObjectStore

SECONDS = 60.0
"""After so long without a sign of life a claim is void."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, which the claims of others do, too."""


class Claim(BaseModel):
    """What a claim says of itself."""

    model_config = ConfigDict(frozen=True)

    host: str
    process: int
    seconds: float


class Lease:
    """A claim on a run, renewed in the background until it is released.

    Stores know no locks. Each contender writes an object of its own and then looks at those of the others: whoever sees
    a live one withdraws. Both may, never neither. Ages are told by the store's clock alone.

    Args:
        store: Where the run is.
        folder: Of the claims on it.
        name: Of this contender: of a copy of the history, in which the kernel allows one process at a time. So what a
            killed process left behind is its successor's own.
    """

    def __init__(self, store: ObjectStore, folder: str, name: str) -> None:
        self._store = store
        self._folder = folder
        self._key = f"{folder}/{name}"
        self._claim = Claim(host=socket.gethostname(), process=os.getpid(), seconds=SECONDS)
        self._renewed = float("-inf")
        self._taking = threading.Lock()
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="overnight-lease", daemon=True)

    def take(self) -> None:
        """Returns when it is held.

        Raises:
            RunIsBusy: If another contender holds it.
            StoreUnavailable: If the store does not answer.
        """
        with self._taking:
            begin = time.clock_gettime(_CLOCK)
            self._put()
            try:
                self._contend()
            except OvernightError:
                self._withdraw()
                raise
            self._renewed = begin
        if self._thread.ident is None:
            self._thread.start()

    def is_held(self) -> bool:
        """Whether nobody else can have taken it yet. What is being written may take the rest of its time."""
        return time.clock_gettime(_CLOCK) - self._renewed < self._claim.seconds * 3 / 4

    def require(self) -> None:
        """Returns where it is held without a break.

        Raises:
            StoreUnavailable: If it ran out. It is held again then, but another may have held it in between.
            RunIsBusy: If another holds it now.
        """
        if not self.is_held():
            self.take()
            raise StoreUnavailable("the claim on the run had run out while the store did not answer")

    def release(self) -> None:
        """Ends it."""
        self._released.set()
        self._thread.join()
        self._renewed = float("-inf")
        self._withdraw()

    def _put(self) -> None:
        self._store.put(self._key, self._claim.model_dump_json().encode())

    def _contend(self) -> None:
        claims = self._store.list(self._folder)
        mine = claims.pop(self._key, None)
        if mine is None:
            raise StoreUnavailable("the store took so long that another contender found this one's claim void")
        if mine.changed_at is None:
            raise EnvironmentFault(
                f"{self._store.url}: the store does not say when an object was written",
                remedy="Without it two nights of one run cannot be kept apart; use another.",
            )
        for key, entry in claims.items():
            if other := self._read(key):
                self._require_void(other, mine.changed_at - (entry.changed_at or mine.changed_at))
        self._store.delete(claims)

    def _require_void(self, other: Claim, age: timedelta) -> None:
        left = other.seconds - age.total_seconds()
        if left > 0:
            raise RunIsBusy(
                f"the run is under way on {other.host}, process {other.process}; last sign of life "
                f"{max(0.0, age.total_seconds()):.0f} s ago",
                remedy=f"Wait for it, or stop it there. If it was killed, try again in {left:.0f} s.",
            )

    def _withdraw(self) -> None:
        """Where the store does not answer, the claim ends by itself."""
        with suppress(EnvironmentFault):
            self._store.delete([self._key])

    def _read(self, key: str) -> Claim | None:
        try:
            return Claim.model_validate_json(self._store.get(key))
        except (FileNotFoundError, ValidationError):
            return None

    def _renew(self) -> None:
        while not self._released.wait(self._claim.seconds / 4):
            with self._taking:
                if not self.is_held():
                    continue
                begin = time.clock_gettime(_CLOCK)
                try:
                    self._put()
                except OvernightError:
                    continue  # tried again; `require` tells whoever depends on it
                self._renewed = begin
