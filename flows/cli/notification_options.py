"""The flags that say who is told of a night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.printing import say

if TYPE_CHECKING:
    from flows.notifications import Notifier


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class NotificationOptions:
    """Where word of a night goes, and when."""

    notify: Annotated[
        list[str] | None,
        Parameter(help="Apprise address that is told how the night ended; repeatable; default: OVERNIGHT_NOTIFY"),
    ] = None
    notify_gain: Annotated[
        float | None, Parameter(help="tell of a new best, too, whenever the best score has risen by this")
    ] = None

    def notifier(self) -> Notifier:
        """Raises: UsageError: If an address is of no service."""
        from flows.notifications import Notifier, notification_addresses

        return Notifier(notification_addresses(self.notify), self.notify_gain, lambda text: say(f"warning: {text}"))
