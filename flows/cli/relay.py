"""`overnight relay`: show the requests of a folder that is a model, and write their answers."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overnight.flows.cli.page_server import Port, listening, serve_page
from overnight.flows.cli.printing import (
    DEFAULT_HISTORY,
    HistoryPlace,
    OutputFormat,
    out,
    say,
    score,
    table,
    write_json,
    write_text,
)
from overnight.flows.formatting import duration, printable
from overnight.schemas.errors import UsageError
from overnight.tasks.sample.providers.relay import (
    Request,
    answers_to_nothing,
    is_answered,
    read_about,
    read_prompt,
    requests_in,
    require_relay,
    require_unanswered,
    waited_s,
    write_answer,
)


def relay(
    folder: Path,
    /,
    *,
    show: str | None = None,
    next: bool = False,  # noqa: A002
    answer: str | None = None,
    edit: str | None = None,
    serve: bool = False,
    port: Port = 0,
    history: HistoryPlace = DEFAULT_HISTORY.location,
    format: OutputFormat = "text",  # noqa: A002
) -> None:
    """List the requests that wait for an answer, oldest first; show one, or answer it.

    Args:
        folder: folder that a run was given as --model relay:FOLDER
        show: print the prompt of the request with this id
        next: print the prompt of the oldest request that waits
        answer: read the answer of this request from standard input
        edit: write the answer of this request in $EDITOR
        serve: answer in a browser, on a page that shows what an answer changes before it is sent
    """
    require_relay(folder)
    if serve:
        with contextlib.suppress(KeyboardInterrupt):
            _serve(folder, history, port)
        return
    requests = requests_in(folder)
    waiting = [request for request in requests if not is_answered(request)]
    if next and waiting:
        write_text(read_prompt(waiting[0]))
        say(f"answer it: overnight relay {shlex.quote(str(folder))} --answer {waiting[0].id} < FILE")
        return
    if show is not None:
        write_text(read_prompt(_named(requests, show)))
        return
    if name := answer or edit:
        request = _named(requests, name)
        require_unanswered(request)  # before anything is written for nothing
        say(write_answer(request, sys.stdin.read() if answer else _edited(request)))
        return
    if format == "json":
        write_json([_facts(request) for request in waiting])
    else:
        _list(waiting)
    for path in answers_to_nothing(folder):
        say(f"{path.name} is to no request")


def _serve(folder: Path, history: str, port: int) -> None:
    from overnight.flows.report.relay_page import application
    from overnight.tasks.history.backends import open_history

    token = secrets.token_urlsafe(16)
    with listening(port) as listener:
        number = listener.getsockname()[1]
        say(f"http://127.0.0.1:{number}/{token}/ answers requests, for whoever has this address; Ctrl-C ends it")
        serve_page(application(folder.absolute(), open_history(history), number, token), listener)


def _named(requests: Sequence[Request], name: str) -> Request:
    found = [request for request in requests if request.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    raise UsageError(f"{len(found)} requests have an id that begins with {name!r}; expected one")


def _edited(request: Request) -> str:
    """Let the user write an answer in an editor, below the prompt, and return what is below it."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    prompt = read_prompt(request)
    with tempfile.TemporaryDirectory(prefix="overnight-relay-") as folder:
        path = Path(folder, f"{request.id}.md")
        path.write_text(f"{prompt}\n{_BELOW}\n", encoding="utf-8")
        subprocess.run([*shlex.split(editor), path], check=False)
        return path.read_text(encoding="utf-8").partition(_BELOW)[2].strip("\n")


_BELOW = "-------- your answer below this line --------"


def _list(waiting: Sequence[Request]) -> None:
    if waiting:
        rows = [_row(request) for request in waiting]
        out().print(table(("id", "asks to", "base", "score", "waits for"), rows, right=("score", "waits for")))
    wanted = sum(read_about(request).is_wanted for request in waiting)
    say(f"{wanted} {'request waits' if wanted == 1 else 'requests wait'}")


def _row(request: Request) -> tuple[str, ...]:
    about = read_about(request)
    waits = duration(waited_s(request)) if about.is_wanted else "nobody waits"
    return request.id, printable(about.operator), printable(about.base), score(about.score), waits


def _facts(request: Request) -> dict[str, Any]:
    about = read_about(request)
    facts = {name: getattr(about, name) for name in ("operator", "base", "score", "is_wanted")}
    return {"id": request.id, **facts, "waited_s": waited_s(request), "prompt": str(request.prompt)}
