"""The page of `overnight relay --serve`: what waits in a folder, and what an answer makes before it is sent.

Its address holds a secret: other users of this machine reach the port, too, and must neither read what is asked nor
answer it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING
from urllib.parse import quote

from overnight.flows.prefect_server.request_guard import Application, LocalGuard
from overnight.schemas.errors import OvernightError, UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion, Prompt
from overnight.tasks.history.database import Database
from overnight.tasks.history.files import files_of
from overnight.tasks.history.stored_run import read_run
from overnight.tasks.report.code_view import DiffLine, diff_lines, warning
from overnight.tasks.report.page import render_template
from overnight.tasks.sample.codecs import FENCE
from overnight.tasks.sample.providers.relay import (
    PREFIX,
    Request,
    is_answered,
    is_relay,
    read_about,
    read_prompt,
    requests_in,
    require_relay,
    waited_s,
    write_answer,
)
from overnight.tasks.sample.sampler import to_candidates

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

_RUN_OF_FOLDER = """
SELECT run_id FROM runs WHERE list_contains(settings::JSON ->> '$.sampling.models[*].name', ?)
ORDER BY run_id IN (SELECT run_id FROM programs WHERE program_id = ?) DESC, started_at DESC LIMIT 1
"""
_MAX_COMPARED = 100_000
"""Characters up to which an answer is compared as it is: the time grows faster than they do."""


@dataclass(frozen=True, slots=True)
class Made:
    """Result of an answer.

    Attributes:
        lines: Comparison with the program to change.
        refusal: Why it holds no program; empty if it holds one.
        warning: Why it does not read as it runs; empty if it does.
        is_parsed: Whether it was read as the night does; else its code block is compared.
    """

    lines: list[DiffLine]
    refusal: str = ""
    warning: str = ""
    is_parsed: bool = True


def find_problem(history: HistoryBackend, folder: Path, base: str) -> Problem | None:
    """Return the problem of the run with a folder as its model: the one with the base, else the newest."""
    with closing(Database(history.root)) as database:
        rows = database.rows(_RUN_OF_FOLDER, [f"{PREFIX}{os.path.abspath(folder)}", base])
    return read_run(files_of(history, rows[0]["run_id"])).problem if rows else None


def look_at(text: str, request: Request, problem: Problem | None) -> Made:
    """Return what an answer makes of its base, read as the night does, or as far as the request tells."""
    about = read_about(request)
    if problem is None or not about.shown:
        return _compare_block(text, about.base_body or (FENCE.findall(read_prompt(request)) or [""])[-1])
    prompt = Prompt(0, "", ("",) * about.shown, "", "chat", "", (0,), base=about.base_body)
    completion = Completion(0, 0, "", text, "", 0, 0, 0.0, 0.0, "stop", datetime.now(UTC))
    (candidate,) = to_candidates([prompt], [completion], problem)
    if candidate.verdict:
        return Made([], f"{candidate.verdict.outcome.value}: {candidate.verdict.error}")
    skeleton = problem.specification
    bodies = (about.base_body or skeleton.start_body, candidate.body)
    old, new = map(skeleton.function_text, bodies)
    return Made(diff_lines(old, new), warning=warning(new))


def _compare_block(text: str, base: str) -> Made:
    """Compare the last code block of an answer with a base, which may be the body of what the block holds."""
    if len(text) > _MAX_COMPARED:
        return Made([], f"{len(text)} characters are too long to compare", is_parsed=False)
    new = (FENCE.findall(text) or [text])[-1]
    forms = (base, indent(base, "    "))
    old = max(forms, key=lambda form: len({*form.split("\n")} & {*new.split("\n")}))
    return Made(diff_lines(old, new), warning=warning(new), is_parsed=False)


def page(folder: Path, name: str = "", act: Callable[[Request], Made | str] | None = None) -> str:
    """Return the page with a request, after something was done with it; what went wrong is a message on it."""
    requests, request, prompt, done, error = [], None, "", None, ""
    try:
        require_relay(folder)
        requests = requests_in(folder)
        request = next((request for request in requests if request.id == name), None)
        if request:
            prompt = read_prompt(request)
            done = act(request) if act else None
        elif name:
            raise UsageError(f"there is no request {name} any longer", remedy="Choose another one.")
    except OvernightError as wrong:
        error = str(wrong)
    except OSError as wrong:
        error = f"cannot write to {folder}: {wrong.strerror}"
    return render_template(
        "relay.html.jinja",
        live="relay.js",
        folder=folder,
        is_there=is_relay(folder),
        waiting=[(one.id, read_about(one), waited_s(one)) for one in requests if not is_answered(one)],
        request=request,
        about=read_about(request) if request else None,
        prompt=prompt,
        made=done if isinstance(done, Made) else None,
        sent=done if isinstance(done, str) else "",
        error=error,
    )


def oldest(folder: Path) -> str:
    """Return the id of the request that has waited longest; empty if none waits."""
    return next((request.id for request in requests_in(folder) if not is_answered(request)), "")


def application(folder: Path, history: HistoryBackend, port: int, secret: str) -> Application:
    """Return the web application: below its secret, the oldest request at `/`, and each one at `/ID`.

    A text that is posted there is looked at, or sent where the query says `send`.
    """
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import HTMLResponse, RedirectResponse
    from starlette.routing import Mount, Route

    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

    def first(_: HttpRequest) -> Response:
        if name := oldest(folder):
            return RedirectResponse(f"/{secret}/{quote(name, safe='')}", 303)
        return HTMLResponse(page(folder), headers=headers)

    def show(http: HttpRequest) -> Response:
        return HTMLResponse(page(folder, http.path_params["name"]), headers=headers)

    async def take(http: HttpRequest) -> Response:
        text = (await http.body()).decode("utf-8", "replace")

        def look(request: Request) -> Made:
            return look_at(text, request, find_problem(history, folder, read_about(request).base))

        act = (lambda request: write_answer(request, text)) if "send" in http.query_params else look
        return HTMLResponse(await run_in_threadpool(page, folder, http.path_params["name"], act), headers=headers)

    routes = [Route("/", first), Route("/{name}", show), Route("/{name}", take, methods=["POST"])]
    return LocalGuard(Starlette(routes=[Mount(f"/{secret}", routes=routes)]), port)
