"""A machine's mailbox: programs that are sent are run, each verdict is answered once, with others that are there."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tasks.evaluate.cluster import mailbox as module
from tasks.evaluate.cluster.mailbox import HandedBack, Mailboxes
from tasks.evaluate.cluster.messages import MAX_ANSWER, Answer, Exchange, answer_bytes, read_answer
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import LONG_S


class Site:
    """Mailboxes whose programs end when they are told, or at once if their name begins with `short`.

    Attributes:
        begun: Programs that have begun, in order.
        output: What is printed by each program.
        fault: Reason why programs are handed back; empty if they are not.
    """

    def __init__(self, slots: int) -> None:
        self.mailboxes = Mailboxes(self._evaluate, slots)
        self.begun: list[str] = []
        self.output = ""
        self.fault = ""
        self._ends: dict[str, threading.Event] = {}
        self._threads = ThreadPoolExecutor(16)

    def _evaluate(self, program: str) -> dict[str, Any]:
        self.begun.append(program)
        if not program.startswith("short"):
            self._end_of(program).wait(LONG_S)
        if self.fault:
            raise HandedBack(self.fault)
        return {"program": program, "output": self.output}

    def _end_of(self, program: str) -> threading.Event:
        return self._ends.setdefault(program, threading.Event())

    def end(self, *programs: str) -> None:
        for program in programs:
            self._end_of(program).set()

    def begin(self, number: int, *programs: str, awaits: bool = False, channel: str = "a") -> Future[Answer]:
        """Begin an exchange; programs have their own names as numbers."""
        sent = {program: program for program in programs}
        message = Exchange(job="job", channel=channel, number=number, programs=sent, awaits=awaits)
        return self._threads.submit(self.mailboxes.exchange, message)

    def exchange(self, number: int, *programs: str, awaits: bool = False, channel: str = "a") -> Answer:
        return self.begin(number, *programs, awaits=awaits, channel=channel).result(LONG_S)

    def close(self) -> None:
        self.mailboxes.close("the test is over")
        for event in list(self._ends.values()):
            event.set()
        self._threads.shutdown()


@pytest.fixture
def site() -> Iterator[Site]:
    with contextlib.closing(Site(slots=4)) as site:
        yield site


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict waits for others as long as it takes."""
    monkeypatch.setattr(module, "_GATHERING_SHARE", 1e9)
    monkeypatch.setattr(module, "_MAX_GATHERING_S", LONG_S)


def names(answer: Answer) -> list[str]:
    assert all(fields["program"] == number for number, fields in answer.verdicts.items())
    return list(answer.verdicts)


def test_the_verdict_on_a_program_that_is_alone_waits_for_nothing(site: Site, patient: None):
    assert names(site.exchange(1, "short")) == ["short"]
    assert names(site.exchange(2, "short again", awaits=True)) == ["short again"]


def test_verdicts_of_programs_that_end_one_after_the_other_are_answered_together(site: Site, patient: None):
    answer = site.begin(1, "x", "y", "z")
    wait_until(lambda: len(site.begun) == 3)
    for program in "yzx":
        site.end(program)
        wait_until(lambda program=program: answer.done() or program not in site.mailboxes._mailboxes["a"]._running)
    assert names(answer.result(LONG_S)) == ["y", "z", "x"]


def test_a_verdict_waits_no_longer_than_a_hundredth_of_what_programs_take(site: Site):
    site.exchange(1, "short")
    answer = site.begin(2, "short, too", "long")
    assert names(answer.result(LONG_S)) == ["short, too"]


def test_a_later_exchange_releases_the_one_before_and_gets_the_verdict(site: Site):
    first = site.begin(1, "x")
    wait_until(lambda: site.begun == ["x"])
    second = site.begin(2, "y", awaits=True)
    assert first.result(LONG_S) == Answer()
    wait_until(lambda: site.begun == ["x", "y"])
    site.end("x")
    assert names(second.result(LONG_S)) == ["x"]


def test_an_exchange_that_was_overtaken_starts_its_programs_and_leaves_the_verdicts_to_the_later_one(site: Site):
    later = site.begin(2, "y")
    wait_until(lambda: site.begun == ["y"])
    assert site.exchange(1, "short") == Answer()
    assert names(later.result(LONG_S)) == ["short"]


def test_a_program_that_is_sent_twice_runs_once(site: Site):
    first = site.begin(1, "x")
    wait_until(lambda: site.begun == ["x"])
    second = site.begin(1, "x")
    site.end("x")
    wait_until(lambda: first.done() or second.done())
    third = site.exchange(2, "short")
    answers = [first.result(LONG_S), second.result(LONG_S), third]
    assert sorted(itertools.chain.from_iterable(map(names, answers))) == ["short", "x"]
    assert site.begun == ["x", "short"]


def test_an_exchange_without_a_verdict_is_answered_after_a_while(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "POLL_S", 0.01)
    assert site.exchange(1, "x") == Answer()
    site.end("x")
    monkeypatch.setattr(module, "POLL_S", LONG_S)
    assert names(site.exchange(2, awaits=True)) == ["x"]


def test_no_more_programs_run_at_a_time_than_there_are_slots_over_all_channels(site: Site):
    first, second = site.begin(1, "a", "b", "c"), site.begin(1, "d", "e", "f", channel="b")
    wait_until(lambda: len(site.begun) == 4)
    site.end(*"abcdef")
    assert {*names(first.result(LONG_S)), *names(second.result(LONG_S))} <= set("abcdef")
    wait_until(lambda: len(site.begun) == 6)


def test_verdicts_that_are_too_long_together_are_answered_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MAX_BATCH", 250)
    site.output = "x" * 150
    monkeypatch.setattr(module, "_GATHERING_SHARE", 1e9)
    monkeypatch.setattr(module, "_MAX_GATHERING_S", LONG_S)
    answers = [site.exchange(1, "short 1", "short 2", "short 3")]
    answers += [site.exchange(number, awaits=True) for number in (2, 3)]
    assert sorted(itertools.chain.from_iterable(map(names, answers))) == ["short 1", "short 2", "short 3"]
    assert all(len(answer.verdicts) == 1 for answer in answers)


def test_the_longest_verdicts_fit_into_answers_that_the_head_reads(site: Site):
    site.output = "\x01" * module._MAX_BATCH
    assert len(answer_bytes(Answer(verdicts={"1": {"output": "\x01" * 2 * 2**20}}))) < MAX_ANSWER
    site.output = "x" * (module._MAX_BATCH // 3)
    answers = [site.exchange(1, *(f"short {number}" for number in range(5)))]
    while sum(len(answer.verdicts) for answer in answers) < 5:
        answers.append(site.exchange(1 + len(answers), awaits=True))
    assert all(read_answer(answer_bytes(answer)) == answer for answer in answers)


def test_a_machine_that_hands_a_program_back_says_so_beside_the_verdicts_that_are_there(site: Site, patient: None):
    answer = site.begin(1, "x", "y", "z")
    wait_until(lambda: len(site.begun) == 3)
    site.end("y")
    wait_until(lambda: "y" in site.mailboxes._mailboxes["a"]._verdicts)
    site.fault = "the engine is gone"
    site.end("z")
    assert (names(found := answer.result(LONG_S)), found.fault) == (["y"], "the engine is gone")
    assert site.exchange(2, "late", awaits=True) == Answer(fault="the engine is gone")
    assert "late" not in site.begun


def test_a_program_whose_evaluation_raises_an_error_is_handed_back_with_all_others(site: Site):
    answer = site.begin(1, "x", "y")
    wait_until(lambda: len(site.begun) == 2)
    site.output = object()  # pyright: ignore[reportAttributeAccessIssue]  (what cannot be sent)
    site.end("x")
    assert answer.result(LONG_S) == Answer(fault="its worker failed")


def test_a_machine_that_does_not_know_the_programs_that_are_awaited_says_so(site: Site):
    assert site.exchange(7, "x", awaits=True).fault == "it no longer has the programs that it was sent"
    assert site.begun == []


def test_the_mailbox_that_was_used_least_recently_is_given_up_where_there_are_too_many(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_MAX_MAILBOXES", 2)
    first = site.begin(1, "x", channel="old")
    wait_until(lambda: site.begun == ["x"])
    for channel in ("b", "c"):
        assert names(site.exchange(1, f"short {channel}", channel=channel)) == [f"short {channel}"]
    assert first.result(LONG_S) == Answer(fault="it has too many channels")
    assert site.exchange(2, awaits=True, channel="old").fault == "it no longer has the programs that it was sent"


def test_closing_hands_back_programs_that_run_and_starts_none_that_wait(site: Site):
    answer = site.begin(1, *"abcdef")
    wait_until(lambda: len(site.begun) == 4)
    site.mailboxes.close("the job was ended")
    assert answer.result(LONG_S) == Answer(fault="the job was ended")
    site.end(*"abcdef")
    assert site.exchange(2, "g", awaits=True) == Answer(fault="the job was ended")
    assert len(site.begun) == 4
