"""`overnight doctor`: one line for each thing a night needs, with the remedy where it is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from flows.cli.printing import DEFAULT_HISTORY, NewRun, out, table
from schemas.errors import ExitCode, OvernightError

_ENOUGH_BYTES = 2 * 1024**3


class Finding(NamedTuple):
    """One line: whether it is well, what was found, what to do."""

    is_well: bool
    found: str
    remedy: str = ""


def doctor(
    *,
    model: Annotated[list[str] | None, Parameter(help="also look for the keys this model needs; repeatable")] = None,
    history: NewRun = DEFAULT_HISTORY,
) -> int:
    """Look at the engine, the image, Prefect, keys and the disk; exit with 3 if a night could not start."""
    checks: dict[str, Callable[[], Finding]] = {
        "engine": _engine,
        "image": _image,
        "prefect": _prefect,
        "keys": lambda: _keys(model or ["builtin/mutate"]),
        "disk": lambda: _disk(history),
    }
    findings = {name: _examined(check) for name, check in checks.items()}
    rows = [(name, "ok" if one.is_well else "MISSING", one.found, one.remedy) for name, one in findings.items()]
    out().print(table(("what", "", "found", "what to do"), rows))
    return ExitCode.DONE if all(one.is_well for one in findings.values()) else ExitCode.ENVIRONMENT


def _examined(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except OvernightError as error:
        return Finding(False, error.message, error.remedy)


def _engine() -> Finding:
    from tasks.evaluate import engine

    with contextlib.closing(engine.connect()) as docker:
        return Finding(True, docker.describe())


def _image() -> Finding:
    from schemas.settings import Sandbox
    from tasks.evaluate import engine

    name = Sandbox().image
    with contextlib.closing(engine.connect()) as docker:
        return Finding(True, f"{name} ({docker.require_image(name)[:19]})")


def _prefect() -> Finding:
    import httpx
    import prefect
    from prefect.settings import PREFECT_API_URL

    from flows.prefect_server.access import installation_password, password_file
    from flows.prefect_server.connection import quick_client
    from flows.prefect_server.embedded import password_remedy

    url = PREFECT_API_URL.value()
    if not url:
        installation_password()
        return Finding(True, f"{prefect.__version__}, embedded server, password in {password_file()}")
    try:
        with quick_client() as client:
            client.api_version()
    except httpx.HTTPStatusError as error:
        return Finding(False, f"{url} refuses: {error.response.status_code}", password_remedy())
    except httpx.TransportError as error:
        remedy = "Start it, or unset PREFECT_API_URL to use the embedded one."
        return Finding(False, f"{url} does not answer: {error}", remedy)
    return Finding(True, f"{prefect.__version__}, server {url}")


def _keys(models: list[str]) -> Finding:
    from tasks.sample.provider import missing_key

    missing = sorted({key for model in models for key in missing_key(model)})
    if missing:
        return Finding(False, f"not set: {', '.join(missing)}", f"export {missing[0]}=…")
    return Finding(True, f"nothing missing for {', '.join(models)}")


def _disk(history: Path) -> Finding:
    place = history.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding(False, f"{place} cannot be written", "Name another place with --history.")
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    return Finding(
        free >= _ENOUGH_BYTES, found, "" if free >= _ENOUGH_BYTES else "Free some space; a night wants 2 GiB."
    )
