"""The morning report while the night goes on: the same page, served on this machine only, as the files are now."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from flows.report.build import build_report
from schemas.errors import StoreUnavailable
from schemas.report_data import ReportData
from tasks.history.database import Database
from tasks.history.files import RunFiles
from tasks.history.remote.sync import refresh
from tasks.report.page import render

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_EVERY_S = 2.0
"""How often a store is asked, whoever asks."""


class Watched:
    """A run whose story is told anew when its files have changed, and only then.

    Args:
        history: Where the run is kept.
        files: Of the run.
    """

    def __init__(self, history: Path, files: RunFiles) -> None:
        self._history, self._files = history, files
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._looked = time.monotonic()
        self._told: tuple[str, ReportData] | None = None
        self._page: tuple[str, str] | None = None

    def mark(self) -> str:
        """Differs when there is more to tell; the same while the files are on a store that does not answer."""
        with contextlib.suppress(StoreUnavailable):
            self._refresh()
        nights = [path.stat().st_mtime_ns for path in self._files.nights()]
        return f'"{len(nights)}-{max(nights, default=0):x}-{max(self._files.committed(), default=0)}"'

    def _refresh(self) -> None:
        with self._looking:
            if time.monotonic() - self._looked > _EVERY_S:
                refresh(self._history, self._files.run_id)
                self._looked = time.monotonic()

    def story(self) -> ReportData:
        """The story as it is now."""
        with self._lock:
            mark = self.mark()
            if self._told is None or self._told[0] != mark:
                self._told = mark, build_report(Database(self._history), self._files)
            return self._told[1]

    def page(self) -> tuple[str, str]:
        """The page as it is now, and its mark."""
        mark, story = self.mark(), self.story()
        with self._lock:
            if self._page is None or self._page[0] != mark:
                self._page = mark, render(story, live=True)
            return self._page


def application(watched: Watched) -> Starlette:
    """The page at `/`, and again at `/page` for the script in it, which asks whether it has changed."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.responses import HTMLResponse
    from starlette.responses import Response as Plain
    from starlette.routing import Route

    def page(request: Request) -> Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match") == watched.mark():
            return Plain(status_code=304, headers=headers)
        mark, html = watched.page()
        return HTMLResponse(html, headers={**headers, "ETag": mark})

    # A page of another site may name this machine as its own host, and would then be let in.
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=[Route("/", page), Route("/page", page)], middleware=[only_here])
