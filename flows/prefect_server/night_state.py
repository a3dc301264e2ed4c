"""State of a night's flow run: corrected where the server is wrong about it, and watched for a cancellation.

A server that was down, or a machine that slept, misses the night's heartbeats, and the server marks the night as
crashed. The night continues and corrects its state as soon as the server answers. It ends only by its own stop
conditions or when it is cancelled.
"""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectException
from prefect.states import Running

from overnight.flows.prefect_server.connection import quick_client

CORRECTION = "the night is under way; the server had lost sight of it"
_INTERVAL_S = 3.0
_GRACE_S = 10.0
"""Seconds that a worker has to cancel its night before the night interrupts itself."""


class NightState:
    """Monitor of a night's flow run, in the main thread, which reads and corrects its state every few seconds.

    Args:
        on_cancel: Called before the main thread gets its KeyboardInterrupt.
        has_worker: Whether a worker runs the night and so cancels it itself.

    Attributes:
        was_cancelled: Whether the night was interrupted because it was cancelled in Prefect.
    """

    def __init__(self, flow_run_id: str, on_cancel: Callable[[], None], *, has_worker: bool = False) -> None:
        self._flow_run_id = UUID(flow_run_id)
        self._on_cancel = on_cancel
        self._grace_s = _GRACE_S if has_worker else 0.0
        self._is_over = threading.Event()
        self.was_cancelled = False

    @contextlib.contextmanager
    def monitored(self) -> Iterator[NightState]:
        """Monitor the state until the block ends, and correct it once more then.

        Prefect sets the night's final state afterwards, and accepts it only after `Running`.
        """
        context = contextvars.copy_context()  # with the address of the server
        monitor = threading.Thread(target=context.run, args=(self._monitor,), daemon=True)
        monitor.start()
        try:
            yield self
        finally:
            self._is_over.set()
            monitor.join(1.0)
        with quick_client() as client:
            self._correct(client)

    def _monitor(self) -> None:
        cancelled_at: float | None = None
        with quick_client() as client:
            while not self._is_over.wait(_INTERVAL_S):
                if not self._correct(client):
                    cancelled_at = None
                    continue
                cancelled_at = cancelled_at or time.monotonic()
                if time.monotonic() - cancelled_at >= self._grace_s and not self._is_over.is_set():
                    self._interrupt()
                    return

    def _correct(self, client: SyncPrefectClient) -> bool:
        """Correct the state on the server; return whether the night has been cancelled there."""
        with contextlib.suppress(httpx.HTTPError, PrefectException):
            state = client.read_flow_run(self._flow_run_id).state
            if state is not None and (state.is_cancelling() or state.is_cancelled()):
                return True
            if state is not None and not state.is_running() and not state.is_paused():
                client.set_flow_run_state(self._flow_run_id, Running(message=CORRECTION), force=True)
        return False

    def _interrupt(self) -> None:
        self.was_cancelled = True
        self._on_cancel()
        # A thread that waits for a lock wakes up only for a signal that is sent to it directly.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
