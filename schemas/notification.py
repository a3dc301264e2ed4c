"""Notifications of a night, and the protocol of what delivers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Event = Literal["began", "best", "ended", "failed"]
"""Events that a night reports: its beginning, a new best score, its end, or an error that ended it without a report."""


@dataclass(frozen=True)
class Notification:
    """One message about a night.

    Attributes:
        event: What happened.
        level: How good or bad it is: `info`, `success`, `warning` or `failure`.
        title: One line of text.
        text: Lines of text; may name commands to continue with.
    """

    event: Event
    level: Literal["info", "success", "warning", "failure"]
    title: str
    text: str


class NotificationSink(Protocol):
    """Service to which the notifications of a night are sent, one after another, from a thread of the night's process.

    Attributes:
        name: Name of the service, without any part of its address, which may hold secrets.
        events: Events of which it is notified; the others are not sent to it.
    """

    name: str
    events: frozenset[Event]

    def send(self, notification: Notification) -> str:
        """Send a notification.

        Returns:
            Why it could not be sent, without any part of the address; empty if it was.
        """
        ...
