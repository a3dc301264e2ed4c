"""What every notification sink keeps to: what it is sent arrives whole and in order, and no fault raises or reveals."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import get_args

import pytest

from flows.notification_sinks import open_sink
from schemas.notification import Event, Notification, NotificationSink
from tests.notification_receiver import NotificationReceiver

SECRET = "secret-of-the-address"


@dataclass(frozen=True)
class Mailbox:
    """A sink, and what has arrived at its service.

    Attributes:
        sink: The sink.
        received: Function that returns the title and the text of each message that arrived, in order.
        broken: Another one whose service cannot be reached; `None` where there is no such thing. Where the address can
            hold a secret, it holds `SECRET`.
    """

    sink: NotificationSink
    received: Callable[[], list[tuple[str, str]]]
    broken: NotificationSink | None


def a_notification(event: Event, number: int = 0) -> Notification:
    return Notification(event, "info", f"Overnight: toy-{number}, {event}", f"Best score {number}.\nä „quoted“ <b>{{}}")


class NotificationSinkContract:
    """Tests of one sink; a subclass provides the fixture `mailbox`."""

    def test_its_events_are_some_of_those_that_a_night_reports(self, mailbox: Mailbox):
        assert mailbox.sink.events
        assert mailbox.sink.events <= set(get_args(Event))

    def test_a_notification_of_each_of_its_events_arrives_with_its_title_and_text(self, mailbox: Mailbox):
        sent = [a_notification(event) for event in sorted(mailbox.sink.events)]
        assert [mailbox.sink.send(notification) for notification in sent] == [""] * len(sent)
        assert mailbox.received() == [(notification.title, notification.text) for notification in sent]

    def test_notifications_arrive_in_order(self, mailbox: Mailbox):
        event = min(mailbox.sink.events)
        for number in range(5):
            assert mailbox.sink.send(a_notification(event, number)) == ""
        assert [title for title, _ in mailbox.received()] == [a_notification(event, n).title for n in range(5)]

    def test_a_fault_is_returned_as_a_reason_without_the_address(self, mailbox: Mailbox):
        if mailbox.broken is None:
            pytest.skip("it cannot fail")
        reason = mailbox.broken.send(a_notification(min(mailbox.broken.events)))
        assert reason
        assert SECRET not in reason + mailbox.broken.name
        assert "\n" not in reason


class TestApprise(NotificationSinkContract):
    @pytest.fixture
    def mailbox(self) -> Iterator[Mailbox]:
        with NotificationReceiver() as receiver, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            yield Mailbox(
                open_sink(receiver.address, 1),
                lambda: [(message["title"], message["message"]) for message in receiver.messages],
                open_sink(f"json://127.0.0.1:{closed.getsockname()[1]}/{SECRET}", 2),
            )


@dataclass
class Recorder:
    """Sink that keeps what it is sent, for tests."""

    name: str = "recorder"
    events: frozenset[Event] = frozenset(get_args(Event))
    notifications: list[Notification] = field(default_factory=list)

    def send(self, notification: Notification) -> str:
        self.notifications.append(notification)
        return ""


class TestRecorder(NotificationSinkContract):
    @pytest.fixture
    def mailbox(self) -> Mailbox:
        recorder = Recorder()
        return Mailbox(recorder, lambda: [(sent.title, sent.text) for sent in recorder.notifications], None)
