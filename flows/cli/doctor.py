"""`overnight doctor`: check everything that a night needs, and print remedies for what is missing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from typing import Annotated, NamedTuple

from cyclopts import Parameter

from overnight.flows.cli.printing import DEFAULT_HISTORY, HistoryPlace, OutputFormat, out, say, table, write_json
from overnight.flows.cluster.choice import choose_cluster, local_machines, named_cluster, require_named_cluster
from overnight.flows.cluster.inspect import InspectedMachine, inspect_machines
from overnight.flows.formatting import count
from overnight.flows.night.notifications import Notifier, notification_addresses
from overnight.flows.prefect_server.access import installation_password, password_file
from overnight.schemas import plugins
from overnight.schemas.errors import ExitCode, OvernightError
from overnight.tasks.evaluate.pool import host_slots
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox_image import ensure_image
from overnight.tasks.history.backends import open_history
from overnight.tasks.program.user_config import user_models, user_sandbox
from overnight.tasks.sample.provider import missing_key

_REQUIRED_BYTES = 2 * 1024**3


class Finding(NamedTuple):
    """Result of one check: whether it passed, the facts found, and the remedy."""

    is_ok: bool
    found: str
    remedy: str = ""


def doctor(
    *,
    model: list[str] | None = None,
    cluster: Annotated[str | bool | None, Parameter(negative=())] = None,
    fix: bool = False,
    format: OutputFormat = "text",  # noqa: A002
    history: HistoryPlace = DEFAULT_HISTORY.location,
) -> int:
    """Check the sandbox's engine, image and slots, Prefect, keys, the disk and machines, and list plug-ins; exit with 3
    if a night could not start.

    Args:
        model: also check the keys that this model needs; repeatable; default: the models of your configuration file
        cluster: also check each machine of this cluster; without an address, and without the flag, the one that
            OVERNIGHT_CLUSTER or your configuration file names
        fix: first build the sandbox image, if it is missing: from a registry, or of Debian packages
    """
    if fix:
        say(f"the sandbox image {ensure_image(say)} is ready")
    checks: dict[str, Callable[[], Finding]] = {
        "engine": _engine,
        "image": _image,
        "slots": _slots,
        "prefect": _prefect,
        "keys": lambda: _keys(model),
        "disk": lambda: _disk(history),
    }
    if addresses := notification_addresses(None):
        checks["notify"] = lambda: _notify(addresses)
    findings = [(name, _run_check(check)) for name, check in checks.items()] + _plugins() + _cluster(cluster)
    code = ExitCode.DONE if all(finding.is_ok for _, finding in findings) else ExitCode.ENVIRONMENT
    if format == "json":
        write_json([{"check": name, **finding._asdict()} for name, finding in findings])
        return code
    rows = [(name, "ok" if finding.is_ok else "MISSING", finding.found, finding.remedy) for name, finding in findings]
    out().print(table(("check", "", "found", "remedy"), rows))
    return code


def _run_check(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except OvernightError as error:
        return Finding(False, error.message, error.remedy)


def _engine() -> Finding:
    with contextlib.closing(create_backend(user_sandbox().backend)) as backend:
        return Finding(True, backend.describe())


def _image() -> Finding:
    sandbox = user_sandbox()
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        backend.require(sandbox.image, sandbox.runtime)
        runtime = f", runtime {sandbox.runtime}" if sandbox.runtime else ""
        return Finding(True, f"{sandbox.image} ({backend.image_id(sandbox.image)[:19]}){runtime}")


def _slots() -> Finding:
    host_slots(user_sandbox().slots)
    return Finding(True, "their locks are yours alone")


def _prefect() -> Finding:
    import httpx
    import prefect
    from prefect.settings import PREFECT_API_URL

    from overnight.flows.prefect_server.connection import quick_client
    from overnight.flows.prefect_server.embedded import password_remedy

    url = PREFECT_API_URL.value()
    if not url:
        installation_password()
        return Finding(True, f"{prefect.__version__}, embedded server, password in {password_file()}")
    try:
        with quick_client() as client:
            client.api_version()
    except httpx.HTTPStatusError as error:
        return Finding(False, f"{url} refuses access: {error.response.status_code}", password_remedy())
    except httpx.TransportError as error:
        remedy = "Start the server, or unset PREFECT_API_URL to use the embedded one."
        return Finding(False, f"{url} does not answer: {error}", remedy)
    return Finding(True, f"{prefect.__version__}, server {url}")


def _keys(named: list[str] | None) -> Finding:
    names = named or [name for name, model in user_models().items() if not model.get("api_base")]
    names = names or ["builtin/mutate"]
    missing = sorted({key for name in names for key in missing_key(name)})
    if missing:
        return Finding(False, f"not set: {', '.join(missing)}", f"export {missing[0]}=…")
    return Finding(True, f"none missing for {', '.join(names)}")


def _notify(addresses: list[str]) -> Finding:
    Notifier(addresses)  # refuses what Apprise does not know
    return Finding(True, f"messages go to {count(len(addresses), 'service')}")


def _disk(history: str) -> Finding:
    backend = open_history(history)
    backend.probe()
    place = backend.root.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 1024**3:.1f} GiB free at {place}"
    if free < _REQUIRED_BYTES:
        return Finding(False, found, "Free some disk space; a night needs 2 GiB.")
    return Finding(True, found)


def _plugins() -> list[tuple[str, Finding]]:
    """Return the installed plug-ins; their code is not imported."""
    return [
        (f"plug-in {plugin.name}", Finding(True, f"{plugin.key}, {plugin.release}")) for plugin in plugins.installed()
    ]


def _cluster(named: str | bool | None) -> list[tuple[str, Finding]]:
    """Return what is found of a cluster and of each of its machines; nothing if none is named.

    `True` means the one that is named elsewhere, which has to be there; `None` the same, which need not.
    """
    try:
        choose_cluster(named if isinstance(named, str) else None)
        address = require_named_cluster(None, "overnight doctor --cluster") if named is True else named_cluster()
        if not address:
            return []
        if local_machines(address):
            return [("cluster", Finding(True, f"{address}: each night starts its own, on this machine"))]
        return _machines(address)
    except OvernightError as error:
        return [("cluster", Finding(False, error.message, error.remedy))]


def _machines(address: str) -> list[tuple[str, Finding]]:
    machines = inspect_machines(address)
    slots = sum(machine.slots for machine in machines)
    found = f"{address}: {count(len(machines), 'machine')}, {count(slots, 'slot')}"
    remedy = "" if machines else f"Have a machine join: overnight cluster worker {address}"
    rows = [(f"machine {machine.name}", _machine(machine)) for machine in machines]
    return [("cluster", Finding(bool(machines), found, remedy)), *rows]


def _machine(machine: InspectedMachine) -> Finding:
    versions = [f"{name} {value}" for name, value in machine.versions.items()]
    image = [f"image {machine.image}"] if machine.image else []
    known = ", ".join([count(machine.slots, "slot"), *versions, *filter(None, [machine.engine]), *image])
    found = f"{known}: {machine.problem}" if machine.problem else known
    return Finding(not machine.problem, found, machine.remedy)
