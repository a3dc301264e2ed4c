"""What the Prefect server believes of a night, kept true: a night ends by its own rules, or because it is cancelled.

A server that was away, or a machine that slept, misses the night's heartbeats and shows it as crashed. The night goes
on, and says so as soon as the server answers.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Running

from flows.prefect_server.embedded import answers
from schemas.errors import PrefectUnavailable

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

CORRECTION = "the night is under way; the server had lost sight of it"
_TIMEOUT_S = 5.0
_GRACE_S = 10.0
"""Seconds that a worker has to cancel a night of its own before the night does it itself."""


def server_answers() -> bool:
    """Return whether the server of this context answers within a moment."""
    return answers(str(PREFECT_API_URL.value()))


@contextlib.contextmanager
def quick_client(timeout_s: float = _TIMEOUT_S) -> Iterator[SyncPrefectClient]:
    """A client that fails at once where the server is away, in place of trying for minutes."""
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(sync_client=True, httpx_settings={"timeout": timeout_s}) as client,
    ):
        yield client


@contextlib.contextmanager
def outages() -> Iterator[None]:
    """What is raised where Prefect's server does not answer becomes an outage, which a night waits for.

    Raises:
        PrefectUnavailable: In place of errors of the connection, and of answers that the server is not well.
    """
    try:
        yield
    except (httpx.TransportError, httpx.HTTPStatusError) as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
            raise
        again = "Start it again; what it missed costs nothing but its pages."
        raise PrefectUnavailable(f"the Prefect server does not answer: {error}", remedy=again) from error


def wait_for_server(timeout_s: float) -> bool:
    """Wait for a server that is away; return whether it answers."""
    until = time.monotonic() + timeout_s
    while not server_answers():
        if time.monotonic() >= until:
            return False
        time.sleep(1.0)
    return True


class NightState:
    """The state of a night's flow run, looked at every few seconds while the night lasts.

    Args:
        flow_run_id: Of the night, whose flow runs in the main thread.
        interrupted: Called before the main thread gets its KeyboardInterrupt.
        has_worker: Whether a worker looks after it, which cancels it, too.
        every_s: Seconds between two looks.

    Attributes:
        was_cancelled: Whether the night was interrupted because somebody cancelled it.
    """

    def __init__(
        self, flow_run_id: str, interrupted: Callable[[], None], *, has_worker: bool = False, every_s: float = 3.0
    ) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._interrupted = interrupted
        self._grace_s = _GRACE_S if has_worker else 0.0
        self._every_s = every_s
        self._is_over = threading.Event()
        self.was_cancelled = False

    @contextlib.contextmanager
    def kept_true(self) -> Iterator[NightState]:
        """Look until the block ends, and once more then: the night's last state comes after `Running`."""
        context = contextvars.copy_context()  # with the address of the server
        watcher = threading.Thread(target=context.run, args=(self._watch,), daemon=True)
        watcher.start()
        try:
            yield self
        finally:
            self._is_over.set()
            watcher.join(1.0)
        with quick_client() as client:
            self._look(client)

    def _watch(self) -> None:
        cancelled_at: float | None = None
        with quick_client() as client:
            while not self._is_over.wait(self._every_s):
                if not self._look(client):
                    cancelled_at = None
                    continue
                cancelled_at = cancelled_at or time.monotonic()
                if time.monotonic() - cancelled_at >= self._grace_s and not self._is_over.is_set():
                    self._interrupt()
                    return

    def _look(self, client: SyncPrefectClient) -> bool:
        """Correct what the server believes; return whether it says that the night is cancelled."""
        with contextlib.suppress(httpx.HTTPError, PrefectException):
            state = client.read_flow_run(self._flow_run_id).state
            if state is not None and (state.is_cancelling() or state.is_cancelled()):
                return True
            if _is_wrong(state):
                client.set_flow_run_state(self._flow_run_id, Running(message=CORRECTION), force=True)
        return False

    def _interrupt(self) -> None:
        self.was_cancelled = True
        self._interrupted()
        # To the main thread by name: one that waits for a lock is woken up by no other's signal.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _is_wrong(state: State | None) -> bool:
    """Return whether a state cannot be one of a night that is under way."""
    return state is not None and not state.is_running() and not state.is_paused()


def outlive_leases() -> None:
    """Let this process go on where Prefect cannot renew the lease of a deployment's concurrency limit.

    Deployments of version 0.1 have such a limit. Prefect ends a flow run whose lease it cannot renew, as after
    a restart of the server. A night needs no lease: the run's own lock keeps a second night away.
    """
    from prefect import flow_engine

    renew = flow_engine.maintain_concurrency_lease  # pyright: ignore[reportPrivateImportUsage]

    def maintain(lease_id: UUID, lease_duration: float, **_: Any) -> contextlib.AbstractContextManager[None]:
        return renew(lease_id, lease_duration, raise_on_lease_renewal_failure=False, suppress_warnings=True)

    flow_engine.maintain_concurrency_lease = maintain  # pyright: ignore[reportPrivateImportUsage]
