"""Notifications at the end of a night, of a new best and of a failure; errors are warnings that reveal no secret."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import overnight.flows.night.notifications
from overnight.flows.formatting import few_scored
from overnight.flows.night.notifications import Notifier, night_summary, notification_addresses
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.schedules.scheduled_night import NotificationSettings, Start, night
from overnight.schemas.errors import TerminalProviderError, UsageError
from overnight.schemas.generation import StopReason
from overnight.schemas.outcome import Outcome
from overnight.testing.made import NOW
from tests.flows.conftest import Call
from tests.flows.night.shown import a_night
from tests.notification_receiver import NotificationReceiver


@pytest.fixture
def mailbox() -> Iterator[NotificationReceiver]:
    with NotificationReceiver() as running:
        yield running


def test_the_end_of_a_night_is_reported_with_its_result_and_stop_reason(mailbox: NotificationReceiver):
    over = replace(
        a_night(4.5).record, best_before=3.0, ended_at=NOW + timedelta(hours=9), stop_reason=StopReason.DEADLINE,
        generations=120, samples=5760, warning="96 of 96 are duplicate",
    )  # fmt: skip
    night = replace(a_night(4.5), record=over.with_pause("no answer", 40).with_pause("it is full", 20))
    night.state.failed.add(7)
    with Notifier([mailbox.address]).reporting_failure("r1") as notifier:
        notifier.report_end("r1", over.stop_reason, night_summary(night))
    (message,) = mailbox.messages
    assert message["title"] == "Overnight: r1, stopped by: deadline"
    assert message["type"] == "success"
    assert message["message"].splitlines() == [
        "Best score 4.5: 1.5 more than before this night; the start program has 1",
        "Night 3: 120 generations, 5,760 samples, $0.00, 0 tokens, 9 h 00 min; stopped by: deadline",
        "Warning: 96 of 96 are duplicate",
        "Paused for 1 min 00 s: no answer (40 s); it is full (20 s)",
        "Given up: generation 7",
        "Report: overnight report toy-run --history there",
        "Continue: overnight resume toy-run --history there",
        "Retry: overnight retry toy-run --history there",
    ]


@pytest.mark.parametrize(
    ("outcomes", "warning"),
    [
        ({Outcome.DUPLICATE: 19}, ""),
        ({Outcome.DUPLICATE: 18, Outcome.SCORED: 2}, "18 of 20 samples have no score, 18 are duplicate"),
        ({Outcome.DUPLICATE: 17, Outcome.SCORED: 3}, ""),
        ({Outcome.UNPARSABLE: 47, Outcome.SCORED: 3}, ""),
        (
            {Outcome.UNPARSABLE: 20, Outcome.DUPLICATE: 28, Outcome.SCORED: 2},
            "48 of 50 samples have no score, 28 are dup",
        ),
        ({Outcome.SCORED: 5, Outcome.SANDBOX_ERROR: 500}, ""),
    ],
)
def test_a_night_in_which_nearly_no_sample_is_scored_has_a_warning(outcomes: dict[Outcome, int], warning: str):
    assert few_scored(outcomes).startswith(warning)
    assert bool(few_scored(outcomes)) == bool(warning)


def test_a_night_that_cannot_begin_is_reported_once(mailbox: NotificationReceiver):
    notifier = Notifier([mailbox.address])
    with (
        pytest.raises(TerminalProviderError),
        notifier.reporting_failure("spread"),
        notifier.reporting_failure("r1"),
    ):
        raise TerminalProviderError("no key", remedy="export KEY=…")
    assert [(message["type"], message["title"]) for message in mailbox.messages] == [
        ("failure", "Overnight: r1 failed")
    ]
    assert "export KEY=…" in mailbox.messages[0]["message"]


def test_a_new_best_is_reported_after_a_sufficient_rise(mailbox: NotificationReceiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overnight.flows.night.notifications, "MIN_INTERVAL_S", 0.0)
    with Notifier([mailbox.address], gain=1.0).reporting_failure("r1") as notifier:
        for best in (3.0, 3.5, 4.0, 4.5, 5.5, 5.5):
            notifier.report_best("r1", best)
    assert [message["message"].split(",")[0] for message in mailbox.messages] == ["Best score 4", "Best score 5.5"]


def test_new_bests_are_reported_at_most_once_a_minute(mailbox: NotificationReceiver):
    with Notifier([mailbox.address], gain=0).reporting_failure("r1") as notifier:
        for best in range(100):
            notifier.report_best("r1", best)
    assert len(mailbox.messages) == 1


def test_a_failing_service_causes_a_warning_without_secrets_and_the_others_are_notified(mailbox: NotificationReceiver):
    with socket.socket() as closed, NotificationReceiver() as failing:
        closed.bind(("127.0.0.1", 0))
        failing.status = 500
        nobody = f"json://127.0.0.1:{closed.getsockname()[1]}/path-secret-9"
        warnings: list[str] = []
        addresses = [nobody, failing.address, mailbox.address]
        with Notifier(addresses, warn=warnings.append).reporting_failure("r1") as notifier:
            notifier.report_end("r1", StopReason.TARGET, "It is over.")
    assert len(mailbox.messages) == 1
    assert len(warnings) == 2
    assert "notification 1 (JSON) was not sent: A Connection error" in warnings[0]
    assert "error=500" in warnings[1]
    assert not any(secret in "".join(warnings) for secret in ("pass-word-7", "path-secret-9", "teller"))


def test_a_service_that_never_answers_delays_the_end_only_briefly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overnight.flows.night.notifications, "FLUSH_TIMEOUT_S", 0.2)
    warnings: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"json://127.0.0.1:{silent.getsockname()[1]}"
        with Notifier([address], warn=warnings.append).reporting_failure("r1") as notifier:
            notifier.report_end("r1", StopReason.TARGET, "It is over.")
        # Before the socket closes, which is an answer of a kind.
        assert warnings == ["a notification may not have been sent: no answer in 0 s"]


def test_an_unknown_service_is_refused_without_repeating_the_address():
    with pytest.raises(UsageError, match=r"address 2 \(nosuch://…\) is of no service") as error:
        Notifier(["json://127.0.0.1", "nosuch://token-123456"])
    assert "token-123456" not in str(error.value)


def test_addresses_default_to_those_of_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_NOTIFY", "ntfy://topic  json://127.0.0.1")
    assert notification_addresses(None) == ["ntfy://topic", "json://127.0.0.1"]
    assert notification_addresses(["ntfy://other"]) == ["ntfy://other"]


@pytest.mark.prefect
@pytest.mark.usefixtures("in_process", "prefect")
def test_a_night_in_the_foreground_notifies_and_stores_no_address(
    mailbox: NotificationReceiver, toy: Path, tmp_path: Path, call: Call, prefect_home: Path
):
    history = tmp_path / "history"
    flags = ["--notify", mailbox.address, "--notify-gain", "0", "--generations", "2", "--seed", "1"]
    code, said = call("run", toy, *flags, "--history", history)
    assert code == 0, said
    assert "warning" not in said
    assert [message["type"] for message in mailbox.messages][-1] == "success"
    assert "Night 1: 2 generations, 12 samples" in mailbox.messages[-1]["message"]
    files = [path for path in (*history.rglob("*"), *prefect_home.glob("prefect.db*")) if path.is_file()]
    assert files
    assert not any(b"path-secret-9" in path.read_bytes() for path in files)


@pytest.mark.prefect
def test_a_scheduled_night_that_cannot_begin_notifies_the_addresses_of_its_secret(
    mailbox: NotificationReceiver, tmp_path: Path, prefect: str
):
    from prefect.blocks.system import Secret

    Secret(value=[mailbox.address]).save("overnight-told", overwrite=True)  # pyright: ignore[reportArgumentType]
    start = Start(problem=str(tmp_path / "missing.py"), seed=1)
    state = night(
        "told",
        str(tmp_path),
        start,
        StopConditions(),
        None,
        NotificationSettings(secret="overnight-told"),
        return_state=True,
    )
    assert state.is_failed()
    assert [message["title"] for message in mailbox.messages] == ["Overnight: told failed"]
    assert "missing.py" in mailbox.messages[0]["message"]
