"""Tells a person of a night wherever they are: mail, chat, push, through Apprise. What fails is a warning, no more."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from flows.formatting import count, duration, printable, score, usd
from schemas.errors import UsageError
from schemas.generation import NightRecord, StopReason

if TYPE_CHECKING:
    from apprise import NotifyBase

VARIABLE = "OVERNIGHT_NOTIFY"
"""Holds addresses, with spaces between them, where none is given."""

_BETWEEN_S = 60.0
"""Seconds between two words of a new best."""

_PATIENCE_S = 20.0
"""Seconds that the end of a night waits for what is being sent."""


class Notifier:
    """Sends what happens in a night, in order, beside the night.

    Args:
        addresses: Of services, as Apprise writes them. They may hold secrets, so that no text of ours repeats them.
        gain: What the best score has to rise by for word of it; `None` for word of the end alone.
        warn: Is told what could not be sent, in words.

    Raises:
        UsageError: If an address is of no service.
    """

    def __init__(
        self,
        addresses: Sequence[str] = (),
        gain: float | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._services = [_service(address, number) for number, address in enumerate(addresses, start=1)]
        self._gain = gain
        self._warn = warn
        self._told: float | None = None
        self._told_at = 0.0
        self._has_ended = False
        self._messages: queue.Queue[tuple[str, str, str] | None] = queue.Queue()
        self._sender: threading.Thread | None = None

    def best(self, run_id: str, best: float, flag: str = "") -> None:
        """The best score as it is now; the first one is what gains are counted from. `flag` as for `ended`."""
        if self._told is None:
            self._told = best
        is_news = self._gain is not None and best > self._told and best - self._told >= self._gain
        if is_news and time.monotonic() - self._told_at >= _BETWEEN_S:
            text = f"Best score {score(best)}, {score(best - self._told)} more than what was told before."
            self._send("info", f"Overnight: {run_id} has a new best", f"{text}\nLook: overnight best {run_id}{flag}")
            self._told, self._told_at = best, time.monotonic()

    def ended(self, run_id: str, night: NightRecord, start: float, failed: Sequence[int], flag: str = "") -> None:
        """A night is over.

        Args:
            run_id: Of the run.
            night: As it is written down.
            start: Score of the start program.
            failed: Generations of the run that failed.
            flag: For the commands that are named: where the history is.
        """
        self._has_ended = True
        reason = (night.stop_reason or StopReason.FAILED).value
        kind = {"failed": "failure", "interrupted": "warning"}.get(reason, "success")
        self._send(
            kind, f"Overnight: {run_id}, stopped by: {reason}", night_in_words(run_id, night, start, failed, flag)
        )

    @contextlib.contextmanager
    def watching(self, name: str) -> Iterator[Notifier]:
        """Inside is a night; where it ends without a word of its own, as one that cannot begin does, this says why.

        Args:
            name: What to call it: the run, or the problem where there is no run yet.
        """
        try:
            yield self
        except Exception as error:
            if not self._has_ended:
                self._has_ended = True
                self._send("failure", f"Overnight: {name} failed", printable(str(error) or type(error).__name__))
            raise
        finally:
            self._finish()

    def _send(self, kind: str, title: str, body: str) -> None:
        if not self._services:
            return
        if self._sender is None:
            # A service that never answers must not keep the process alive.
            self._sender = threading.Thread(target=self._deliver, daemon=True)
            self._sender.start()
        self._messages.put((kind, title, body))

    def _deliver(self) -> None:
        while (message := self._messages.get()) is not None:
            for number, service in enumerate(self._services, start=1):
                if fault := _fault_of(service, *message):
                    self._warn(f"notification {number} ({service.service_name}) was not sent: {fault}")

    def _finish(self) -> None:
        if self._sender is None:
            return
        self._messages.put(None)
        self._sender.join(_PATIENCE_S)
        if self._sender.is_alive():
            self._warn(f"a notification may not have been sent: no answer in {_PATIENCE_S:.0f} s")
        self._sender = None


def night_in_words(run_id: str, night: NightRecord, start: float, failed: Sequence[int], flag: str = "") -> str:
    """What was found, why it stopped, what went wrong, and how to go on: a few lines of text."""
    reason = night.stop_reason.value if night.stop_reason else "unknown"
    taken = f", {duration((night.ended_at - night.started_at).total_seconds())}" if night.ended_at else ""
    gain = night.best_after - night.best_before
    lines = [
        f"Best score {score(night.best_after)}: "
        + (f"{score(gain)} more than before this night" if gain > 0 else "not better than before this night")
        + f"; the start program has {score(start)}.",
        *_finals(night),
        f"Night {night.number}: {count(night.generations, 'generation')}, {count(night.samples, 'sample')}, "
        f"{usd(night.cost_usd)}{taken}.",
        f"Stopped by: {reason}{f': {printable(night.error)}' if night.error else '.'}",
    ]
    if night.paused_by:
        lines.append(f"Paused for {duration(night.paused_s)}, the last time by: {printable(night.paused_by)}")
    if failed:
        lines.append(f"Failed generations: {', '.join(map(str, failed))}. Again: overnight retry {run_id}{flag}")
    lines += [f"Report: overnight report {run_id}{flag}", f"Go on: overnight resume {run_id}{flag}"]
    return "\n".join(lines)


def _finals(night: NightRecord) -> list[str]:
    """Scores of the winner on inputs that the search has not seen, where there are any."""
    if not night.finalists:
        return []
    winner = night.finalists[0]
    splits = [("validation", winner.validation), ("held-out", winner.held_out)]
    told = [f"{name} {score(value)}" for name, value in splits if value is not None]
    told += [f"{name} none, it fails there" for name in night.winner_fails_on]
    return [f"The winner on other inputs: {', '.join(told)}."] if told else []


def addresses_of(given: Sequence[str] | None) -> list[str]:
    """The addresses that were given, else those of the environment."""
    return list(given or os.environ.get(VARIABLE, "").split())


def _service(address: str, number: int) -> NotifyBase:
    from apprise import Apprise

    service = Apprise.instantiate(address, suppress_exceptions=True)
    if service is None:
        scheme = re.match(r"\w+", address)
        raise UsageError(
            f"--notify: address {number}{f', {scheme[0]}://…,' if scheme else ''} is of no service that Apprise knows",
            remedy="For example: ntfy://TOPIC, mailto://USER:PASSWORD@HOST or slack://TOKENS; "
            "all are on https://appriseit.com/services/",
        )
    return service


def _fault_of(service: NotifyBase, kind: str, title: str, body: str) -> str:
    """Sends one message. Why it could not be sent, without any part of the address; empty if it was."""
    from apprise import Apprise, LogCapture, NotifyFormat, NotifyType

    apprise = Apprise()
    apprise.add(service)
    with cast("Any", LogCapture(level=logging.WARNING, fmt="%(message)s")) as log:
        if apprise.notify(title=title, body=body, notify_type=NotifyType(kind), body_format=NotifyFormat.TEXT):
            return ""
        said = " ".join(log.getvalue().split()) or "the service refused it"
    return printable(_without(service.url(privacy=False), said))


def _without(address: str, text: str) -> str:
    """A text in which no part of an address that may be a secret is left."""
    parts = set(re.split(r"[/:@?&=,]+", address))
    for part in sorted(parts | {unquote(part) for part in parts}, key=len, reverse=True):
        if len(part) > 5:
            text = text.replace(part, "…")
    return text
