"""Requests of people to a run while it goes on, and the table of those that it has taken.

A request is a line of `requests.jsonl`, which any process may append. Whoever holds the run's lock takes it: it is
written to `interventions.parquet` with the place at which it takes effect, before it does.
"""

from __future__ import annotations

import contextlib
import getpass
import secrets
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime

import orjson
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from overnight.schemas.errors import HistoryError
from overnight.schemas.interventions import MAX_CHARS, Intervention, Kind
from overnight.schemas.tables import INTERVENTIONS
from overnight.tasks.history.atomic_files import append_lines, read_file, read_lines, write_file
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.private_files import is_plain_file

_INTERVENTION = TypeAdapter(Intervention)


def new_request(
    kind: Kind, text: str = "", program_id: str = "", *, prompts: int | None = None, with_descendants: bool = False
) -> Intervention:
    """Return a request of the person who runs this process."""
    return Intervention(
        secrets.token_hex(6), kind, datetime.now(UTC), _login(), text, program_id, prompts, with_descendants
    )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for the user's number, as in some containers
        return ""


def add_request(files: RunFiles, request: Intervention) -> None:
    """Keep a request for whoever holds the run; return when it is on disk."""
    append_lines(files.requests, [orjson.dumps(request)])


def pending_requests(files: RunFiles) -> list[Intervention]:
    """Return the requests that were not taken yet, in order; lines that are damaged are left out."""
    if not is_plain_file(files.requests):
        return []
    taken = {one.id for one in read_interventions(files)}
    found = list[Intervention]()
    for line in read_lines(files.requests):
        with contextlib.suppress(ValidationError):
            found.append(_shortened(_INTERVENTION.validate_json(line)))
    return [one for one in found if one.id not in taken]


def _shortened(one: Intervention) -> Intervention:
    """Return an intervention of a file, which may be a stranger's, with texts within their limit."""
    return replace(one, text=one.text[:MAX_CHARS], author=one.author[:MAX_CHARS])


def read_interventions(files: RunFiles) -> tuple[Intervention, ...]:
    """Return what people asked for and the run has taken, in order."""
    if not files.interventions.exists():
        return ()
    try:
        rows = read_file(files.interventions).to_pylist()
        return tuple(_shortened(_INTERVENTION.validate_python(row)) for row in rows)
    except ValidationError as error:
        raise HistoryError(f"{files.interventions} is damaged: {error}", remedy="Restore it from a copy.") from error


def write_interventions(files: RunFiles, interventions: Sequence[Intervention]) -> None:
    """Write all that people asked for and the run has taken; the caller holds the run's lock.

    Raises:
        EnvironmentFault: If they cannot be written; they are not taken then.
    """
    rows = [asdict(one) | {"run_id": files.run_id, "kind": one.kind.value} for one in interventions]
    table = pa.Table.from_pylist(rows, schema=INTERVENTIONS)
    write_file(files.backend, files.interventions, table)
