"""`overnight relay`: show the requests of a folder that is a model, and write their answers."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from overnight.flows.cli.printing import OutputFormat, out, say, score, table, write_json, write_text
from overnight.flows.formatting import duration, printable
from overnight.schemas.errors import UsageError
from overnight.tasks.sample.providers.relay import (
    GUIDE,
    Request,
    answers_to_nothing,
    is_answered,
    is_relay,
    read_about,
    read_prompt,
    requests_in,
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
    format: OutputFormat = "text",  # noqa: A002
) -> None:
    """List the requests that wait for an answer, oldest first; show one, or answer it.

    Args:
        folder: folder that a run was given as --model relay:FOLDER
        show: print the prompt of the request with this id
        next: print the prompt of the oldest request that waits
        answer: read the answer of this request from standard input
        edit: write the answer of this request in $EDITOR
    """
    if not is_relay(folder):
        raise UsageError(
            f"{folder} is no folder of requests: there is no {GUIDE} in it",
            remedy=f"A run makes it: overnight run PROBLEM --model relay:{shlex.quote(str(folder))}",
        )
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
        if is_answered(request):
            raise UsageError(f"{request.id} is answered already", remedy=f"List what waits: overnight relay {folder}")
        text = sys.stdin.read() if answer else _edited(request)
        if not text.strip():
            raise UsageError("the answer is empty; nothing was written")
        write_answer(request, text)
        is_wanted = read_about(request).is_wanted
        say(f"answered {request.id}{'' if is_wanted else '; nobody waits now: a night that asks the same takes it'}")
        return
    if format == "json":
        write_json([_facts(request) for request in waiting])
    else:
        _list(waiting)
    for path in answers_to_nothing(folder):
        say(f"{path.name} is to no request")


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
    say(f"{len(waiting)} {'request waits' if len(waiting) == 1 else 'requests wait'}")


def _row(request: Request) -> tuple[str, ...]:
    about = read_about(request)
    waits = duration(waited_s(request)) if about.is_wanted else "nobody waits"
    return request.id, printable(about.operator), printable(about.base), score(about.score), waits


def _facts(request: Request) -> dict[str, Any]:
    about = asdict(read_about(request))
    return {"id": request.id, **about, "waited_s": waited_s(request), "prompt": str(request.prompt)}
