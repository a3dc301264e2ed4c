"""Notifications of a night through Apprise: mail, chat or push. One that cannot be sent is only a warning.

Addresses of schemes that Apprise does not know belong to a plug-in of the kind `notifications`, whose name is the
scheme.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import unquote

from overnight.flows.formatting import printable, score
from overnight.flows.night.facts import ShownNight, commands, first_line, remarks
from overnight.schemas import plugins
from overnight.schemas.errors import UsageError
from overnight.schemas.generation import StopReason

if TYPE_CHECKING:
    from apprise import NotifyBase

VARIABLE = "OVERNIGHT_NOTIFY"
"""Environment variable with the default addresses, separated by spaces."""

MIN_INTERVAL_S = 60.0
"""Minimum seconds between two notifications of a new best score."""

FLUSH_TIMEOUT_S = 20.0
"""Seconds that the end of a night waits for notifications being sent."""


Level = Literal["info", "success", "warning", "failure"]

_LEVELS: dict[StopReason, Level] = {StopReason.FAILED: "failure", StopReason.INTERRUPTED: "warning"}


@dataclass(frozen=True)
class Notification:
    """One message about a night, whose text may name commands to continue with."""

    level: Level
    title: str
    text: str


class Notifier:
    """Sender of a night's notifications, in order and in a thread of its own.

    Args:
        addresses: Addresses of services. They may hold secrets, so no message of ours repeats them.
        gain: Minimum rise of the best score for a notification; `None` to notify of the end of the night only.
        warn: Shows a warning about a notification that could not be sent.

    Raises:
        UsageError: If no service is known for an address.
    """

    def __init__(
        self, addresses: Sequence[str] = (), gain: float | None = None, warn: Callable[[str], None] = lambda _: None
    ) -> None:
        self._services = [service_of(address, number) for number, address in enumerate(addresses, start=1)]
        self._gain = gain
        self._warn = warn
        self._reported_best: float | None = None
        self._reported_at = 0.0
        self._has_ended = False
        self._messages: queue.Queue[Notification | None] = queue.Queue()
        self._sender: threading.Thread | None = None

    def report_best(self, run_id: str, best: float, flag: str = "") -> None:
        """Notify of the best score if it has risen enough since the last notification, or the night's first call."""
        if self._reported_best is None:
            self._reported_best = best
        rise = best - self._reported_best
        has_risen = self._gain is not None and best > self._reported_best and rise >= self._gain
        if has_risen and time.monotonic() - self._reported_at >= MIN_INTERVAL_S:
            text = f"Best score {score(best)}, {score(rise)} more than last reported."
            text += f"\nShow it: overnight best {run_id}{flag}"
            self.report(Notification("info", f"Overnight: {run_id} has a new best", text))
            self._reported_best, self._reported_at = best, time.monotonic()

    def report_end(self, run_id: str, reason: StopReason | None, summary: str) -> None:
        """Notify of the end of a night, with its summary."""
        self._has_ended = True
        reason = reason or StopReason.FAILED
        level = _LEVELS.get(reason, "success")
        self.report(Notification(level, f"Overnight: {run_id}, stopped by: {reason}", summary))

    @contextlib.contextmanager
    def reporting_failure(self, name: str) -> Iterator[Notifier]:
        """Notify of an error in the block unless the end was reported, for example of a night that cannot begin."""
        try:
            yield self
        except Exception as error:
            if not self._has_ended:
                self._has_ended = True
                text = printable(str(error) or type(error).__name__)
                self.report(Notification("failure", f"Overnight: {name} failed", text))
            raise
        finally:
            self._finish()

    def report(self, notification: Notification) -> None:
        """Send a message to all addresses, in the sender's thread."""
        if not self._services:
            return
        if self._sender is None:
            # A service that never answers must not keep the process alive.
            self._sender = threading.Thread(target=self._deliver, daemon=True)
            self._sender.start()
        self._messages.put(notification)

    def _deliver(self) -> None:
        while (notification := self._messages.get()) is not None:
            for number, service in enumerate(self._services, start=1):
                if fault := send(service, notification):
                    self._warn(f"notification {number} ({service.service_name}) was not sent: {fault}")

    def _finish(self) -> None:
        if self._sender is None:
            return
        self._messages.put(None)
        self._sender.join(FLUSH_TIMEOUT_S)
        if self._sender.is_alive():
            self._warn(f"a notification may not have been sent: no answer in {FLUSH_TIMEOUT_S:.0f} s")
        self._sender = None


def night_summary(night: ShownNight) -> str:
    """Return lines of text on a night's result, its stop reason, its problems, and commands to continue with."""
    best, *others = remarks(night)
    lines = [best, first_line(night), *others, *(f"{name}: {command}" for name, command in commands(night).items())]
    return "\n".join(line[:1].upper() + line[1:] for line in lines)


def notification_addresses(given: Sequence[str] | None) -> list[str]:
    """Return the given addresses; without any, those of OVERNIGHT_NOTIFY."""
    return list(given or os.environ.get(VARIABLE, "").split())


def service_of(address: str, number: int) -> NotifyBase:
    """Return the service at an address such as `ntfy://TOPIC`: one of Apprise, or of a plug-in.

    An address may hold secrets, so errors name its number among the user's addresses in its place.

    Raises:
        UsageError: If neither knows it.
        EnvironmentFault: If the plug-in cannot be loaded.
    """
    from apprise import Apprise

    if service := Apprise.instantiate(address, suppress_exceptions=True):
        return service
    scheme = re.match(r"\w+", address)
    plugin = plugins.find("notifications", scheme[0]) if scheme else None
    if plugin is None:
        raise UsageError(
            f"--notify: address {number}{f' ({scheme[0]}://…)' if scheme else ''} is of no service that Apprise knows",
            remedy="For example: ntfy://TOPIC, mailto://USER:PASSWORD@HOST or slack://TOKENS; "
            "all are on https://appriseit.com/services/",
        )
    return plugin.load("create")(address)


def send(service: NotifyBase, notification: Notification) -> str:
    """Send a message; return why it could not be sent, without any part of the address, or an empty string."""
    from apprise import Apprise, LogCapture, NotifyFormat, NotifyType

    apprise = Apprise()
    apprise.add(service)
    with cast("Any", LogCapture(level=logging.WARNING, fmt="%(message)s")) as log:
        if apprise.notify(
            title=notification.title,
            body=notification.text,
            notify_type=NotifyType(notification.level),
            body_format=NotifyFormat.TEXT,
        ):
            return ""
        reason = " ".join(log.getvalue().split()) or "the service refused it"
    return printable(_without_secrets(service.url(privacy=False), reason))


def _without_secrets(address: str, text: str) -> str:
    """Replace every part of an address that may be a secret in a text."""
    parts = set(re.split(r"[/:@?&=,]+", address))
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        if len(part) > 5:
            text = text.replace(part, "…")
    return text
