"""Registry of notification sinks: from an address that the user gives to the service that it names."""

from __future__ import annotations

from importlib import import_module

from schemas.notification import NotificationSink

MODULES: dict[str, str] = {}
"""Module of each sink by the scheme of its addresses; it has a function `open_sink` of an address and its number."""

_APPRISE = "flows.apprise_sink"
"""Module for all other schemes."""


def open_sink(address: str, number: int) -> NotificationSink:
    """Return the service at an address.

    Args:
        address: Address such as `ntfy://TOPIC`; it may hold secrets, so errors do not repeat it.
        number: Its position among the user's addresses, from 1, for errors.

    Raises:
        UsageError: If no service is known for it.
    """
    return import_module(MODULES.get(address.partition("://")[0], _APPRISE)).open_sink(address, number)
