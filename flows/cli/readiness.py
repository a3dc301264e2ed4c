"""Requirements of a night, checked before anything is started: a server, a container, a request to a model."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from overnight.flows.cli.printing import say
from overnight.flows.cluster.choice import local_machines, named_cluster, parse_address
from overnight.flows.start.judging import require_judge
from overnight.flows.start.sandboxes import build_agent_images, image_of, require_sandbox
from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.problem import Problem
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.evaluate.pool import host_slots
from overnight.tasks.sample.provider import every_model, own_provider, require_keys, require_own_models

_CONNECT_S = 5.0
"""Seconds in which a server has to accept a connection."""


def require_ready(problem: Problem) -> None:
    """Look at all that a night of a problem needs, what takes least first; images that are missing are built.

    Raises:
        UsageError: If a name or an address is wrong.
        EnvironmentFault: If a key, a server, slots, an image or a runtime is missing.
    """
    sampling = problem.settings.sampling
    cluster = named_cluster()
    require_judge(problem, on_cluster=bool(cluster))
    require_own_models(sampling)
    host_slots(problem.settings.sandbox.slots)
    require_listening(sampling)
    if cluster and local_machines(cluster) is None:
        _require_cluster(parse_address(cluster))
    if any(map(_is_doubtful, every_model(sampling))):
        require_keys(sampling)
    image_of(problem, say)
    if problem.settings.sandbox.runtime is not None:
        require_sandbox(problem.settings.sandbox)
    build_agent_images(problem, say)


def _is_doubtful(model: Model) -> bool:
    """Return whether a model's name or key is likely wrong.

    To ask LiteLLM takes a second, which a night begins with anyway, but while its server starts.
    """
    if own_provider(model.name):
        return False
    provider, separator, _ = model.name.partition("/")
    has_key = any(provider.upper() in name and value for name, value in os.environ.items())
    return not separator or not (model.api_base or has_key)


def require_listening(sampling: Sampling) -> None:
    """Raise an EnvironmentFault unless something listens at the addresses that the user named for models.

    A provider that does not answer during a night is an outage, which the night waits for; before a night, it is most
    likely a wrong port. A model whose fallback listens is not missed. Addresses behind a proxy are not tried.
    """
    for model in sampling.models:
        faults = [_connection_fault(each.api_base) for each in (model, *model.fallbacks)]
        if all(faults):
            raise EnvironmentFault(
                f"{model.name}: nothing answers at {model.api_base}: {faults[0]}",
                remedy="Start that server, or name its address with --api-base.",
            )


def _require_cluster(address: str) -> None:
    if fault := _connection_fault(address):
        raise EnvironmentFault(
            f"no cluster answers at {address}: {fault}",
            remedy="Start it there with `overnight cluster start`, or evaluate on this machine: --cluster none",
        )


def _connection_fault(address: str | None) -> str:
    """Return why no connection to an address can be made; empty if one can, or if that is not known."""
    url = urlsplit(address or "")
    if not url.hostname or (url.scheme in getproxies() and not proxy_bypass(url.hostname)):
        return ""
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname, port), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error)
    return ""
