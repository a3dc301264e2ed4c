"""The live report of a run: the report page, served on this machine only and updated as the run's files change."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from overnight.flows.report.build import build_report, draw_report
from overnight.schemas.errors import OvernightError, StoreUnavailable
from overnight.schemas.report_data import NO_DRAWINGS, ReportData
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import RunFiles
from overnight.tasks.report.page import render

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_REFRESH_INTERVAL_S = 2.0
"""Least time between two requests to the object store, for all readers of the page together."""


class LiveReport:
    """Report of a run that is built again only when the run's files have changed; programs are drawn in a thread."""

    def __init__(self, files: RunFiles, *, draws: bool = False) -> None:
        self._files = files
        self._draws = draws
        self._drawings, self._drawings_made = NO_DRAWINGS, 0
        self._drawn: str | None = None
        self._drawing_thread = threading.Thread()
        self._lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._refreshed_at = time.monotonic()
        self._data: tuple[str, ReportData] | None = None
        self._page: tuple[str, str] | None = None

    def version(self) -> str:
        """Return an HTTP entity tag of the run's files, unchanged while the object store does not answer."""
        with contextlib.suppress(StoreUnavailable):
            self._refresh()
        nights = [path.stat().st_mtime_ns for path in (*self._files.nights(), *self._files.night_logs())]
        asked = [path.stat().st_mtime_ns for path in (self._files.interventions, self._files.requests) if path.exists()]
        generations = len(self._files.committed())  # a retried one is not the highest
        latest = f"{max(nights, default=0):x}-{max(asked, default=0):x}"
        return f'"{len(nights)}-{latest}-{generations}-{self._drawings_made}"'

    def _refresh(self) -> None:
        with self._refresh_lock:
            if time.monotonic() - self._refreshed_at > _REFRESH_INTERVAL_S:
                self._files.backend.refresh(self._files.run_id)
                self._refreshed_at = time.monotonic()

    def data(self) -> ReportData:
        with self._lock:
            version = self.version()
            if self._data is None or self._data[0] != version:
                self._data = version, build_report(Database(self._files.backend.root, self._files.run_id), self._files)
            self._draw(self._data[1])
            return self._data[1]

    def _draw(self, report: ReportData) -> None:
        """Draw the programs of the report if its best one is new; one thread does so at a time."""
        draws = self._draws and report.run.problem.draws
        if not draws or self._drawing_thread.is_alive() or report.best.program_id == self._drawn:
            return
        self._drawn = report.best.program_id

        def draw() -> None:
            # A connection of its own: the other thread may be reading.
            with contextlib.suppress(OvernightError):
                drawings = draw_report(Database(self._files.backend.root, self._files.run_id), report)
                if drawings != self._drawings:
                    self._drawings, self._drawings_made = drawings, self._drawings_made + 1

        self._drawing_thread = threading.Thread(target=draw, name="overnight-drawing", daemon=True)
        self._drawing_thread.start()

    def page(self) -> tuple[str, str]:
        """Return the current version and its page as HTML."""
        version, data = self.version(), self.data()
        with self._lock:
            if self._page is None or self._page[0] != version:
                self._page = version, render(data, self._drawings, live=True)
            return self._page


_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # which a page cannot say itself
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def application(live_report: LiveReport) -> Starlette:
    """Return the web application: the page at `/`, and at `/page`, where its script asks for changes."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse
    from starlette.responses import Response as PlainResponse
    from starlette.routing import Route

    def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == live_report.version():
            return PlainResponse(status_code=304, headers=_HEADERS)
        version, html = live_report.page()
        return HTMLResponse(html, headers={**_HEADERS, "ETag": version})

    # Another site can point its own host name at 127.0.0.1 (DNS rebinding); its pages must not be able to read this.
    local_only = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[Route("/", page), Route("/page", page)], middleware=[local_only])
