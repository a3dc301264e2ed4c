"""Notifications by mail, chat or push, through Apprise."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from flows.formatting import printable
from schemas.errors import UsageError
from schemas.notification import Event, Notification

if TYPE_CHECKING:
    from apprise import NotifyBase


class AppriseSink:
    """Service that Apprise knows. It is not notified of the beginning of a night, which a person has just started.

    Args:
        service: The service.
    """

    events: frozenset[Event] = frozenset({"best", "ended", "failed"})

    def __init__(self, service: NotifyBase) -> None:
        self._service = service
        self.name = str(service.service_name)

    def send(self, notification: Notification) -> str:
        """Send a message; return why it could not be sent, without any part of the address, or an empty string."""
        from apprise import Apprise, LogCapture, NotifyFormat, NotifyType

        apprise = Apprise()
        apprise.add(self._service)
        with cast("Any", LogCapture(level=logging.WARNING, fmt="%(message)s")) as log:
            if apprise.notify(
                title=notification.title,
                body=notification.text,
                notify_type=NotifyType(notification.level),
                body_format=NotifyFormat.TEXT,
            ):
                return ""
            reason = " ".join(log.getvalue().split()) or "the service refused it"
        return printable(_without_secrets(self._service.url(privacy=False), reason))


def open_sink(address: str, number: int) -> AppriseSink:
    """Return the service at an address.

    Raises:
        UsageError: If Apprise knows no service for it.
    """
    from apprise import Apprise

    service = Apprise.instantiate(address, suppress_exceptions=True)
    if service is None:
        scheme = re.match(r"\w+", address)
        raise UsageError(
            f"--notify: address {number}{f' ({scheme[0]}://…)' if scheme else ''} is of no service that Apprise knows",
            remedy="For example: ntfy://TOPIC, mailto://USER:PASSWORD@HOST or slack://TOKENS; "
            "all are on https://appriseit.com/services/",
        )
    return AppriseSink(service)


def _without_secrets(address: str, text: str) -> str:
    """Replace every part of an address that may be a secret in a text."""
    parts = set(re.split(r"[/:@?&=,]+", address))
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        if len(part) > 5:
            text = text.replace(part, "…")
    return text
