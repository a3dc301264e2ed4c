"""The head's channel to a machine: programs travel in batches, in order, and each has one verdict or is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest

from tasks.evaluate.cluster import channel as module
from tasks.evaluate.cluster.channel import Channel, Channels, Sent
from tasks.evaluate.cluster.dask_engine import Machine, MachineLost, Members, Pending
from tasks.evaluate.cluster.messages import MAX_ANSWER, Answer, Exchange, answer_bytes
from tests.accidents import wait_until
from tests.evaluate.cluster.fake_cluster import LONG_S, FakeFuture

MACHINE = Machine("tcp://one", "one", 4)


class Wire:
    """A machine that answers exchanges when it is told.

    Attributes:
        messages: Exchanges that it was given, in order.
        is_there: Whether it takes exchanges.
        ended: Programs that are over, in order.
    """

    def __init__(self) -> None:
        self.messages: list[Exchange] = []
        self.is_there = True
        self.ended: list[Sent] = []
        self._pending: list[Pending] = []
        self._futures: list[Future[Any]] = []
        self._readers = ThreadPoolExecutor(4)
        self.channel = Channel("job", self.submit, self._readers)

    def submit(self, text: str) -> Pending:
        if not self.is_there:
            raise MachineLost("it is not there")
        self.messages.append(Exchange.model_validate_json(text))
        self._futures.append(Future())
        self._pending.append(Pending())
        self._pending[-1].follow(cast(Any, FakeFuture(self._futures[-1])))
        return self._pending[-1]

    @property
    def machines(self) -> dict[str, Machine]:
        return {MACHINE.address: MACHINE}

    def send(self, *programs: str) -> list[Sent]:
        sent = [Sent(MACHINE, program, self.ended.append) for program in programs]
        for one in sent:
            self.channel.send(one)
        return sent

    def answer(self, number: int, *programs: str, fault: str = "", raw: Any = None) -> None:
        """Answer an exchange with the verdicts on programs that it was sent."""
        numbers = {program: key for message in self.messages for key, program in message.programs.items()}
        verdicts = {numbers.get(program, program): {"of": program} for program in programs}
        self._futures[number - 1].set_result(raw or answer_bytes(Answer(verdicts=verdicts, fault=fault)))

    def lose(self, number: int) -> None:
        self._pending[number - 1].lose("the machine left the cluster")

    def is_lost(self, number: int) -> bool:
        return bool(self._pending[number - 1]._lost)

    def batches(self) -> list[list[str]]:
        """Return the programs of each exchange."""
        return [list(message.programs.values()) for message in self.messages]

    def wait_for(self, exchanges: int) -> None:
        wait_until(lambda: len(self.messages) >= exchanges)

    def close(self) -> None:
        self._readers.shutdown()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    monkeypatch.setattr(module, "_AT_LEAST_S", 0)
    with contextlib.closing(Wire()) as wire:
        yield wire


def faults(*sent: Sent) -> list[str]:
    wait_until(lambda: all(one.is_over for one in sent))
    assert all(one.verdict is None for one in sent)
    return [one.fault for one in sent]


def verdicts(*sent: Sent) -> list[str]:
    wait_until(lambda: all(one.is_over for one in sent))
    return [(one.verdict or {}).get("of", one.fault) for one in sent]


def test_a_program_leaves_at_once_also_while_an_exchange_waits_at_the_machine(wire: Wire):
    wire.send("x")
    assert wire.batches() == [["x"]]
    wire.send("y")
    assert wire.batches() == [["x"], ["y"]]


def test_programs_that_come_faster_than_answers_travel_together_in_order(wire: Wire):
    sent = wire.send(*"abcdefg")
    assert wire.batches() == [["a"], ["b"]]
    wire.answer(1)
    wire.wait_for(3)
    assert wire.batches() == [["a"], ["b"], ["c", "d", "e", "f", "g"]]
    assert [message.number for message in wire.messages] == [1, 2, 3]
    wire.answer(2)
    wire.answer(3, *"gfedcba")
    assert verdicts(*sent) == list("abcdefg")
    assert [one.text for one in wire.ended] == list("gfedcba")


def test_verdicts_are_asked_for_while_any_is_awaited(wire: Wire):
    first, second = wire.send("x", "y")
    wire.answer(1)
    wire.answer(2, "x")
    wire.wait_for(3)
    assert (verdicts(first), second.is_over) == (["x"], False)
    assert (wire.messages[2].programs, wire.messages[2].awaits) == ({}, True)
    wire.answer(3, "y")
    assert verdicts(second) == ["y"]
    assert len(wire.messages) == 3, "nothing is awaited any more"


def test_a_machine_must_know_the_channel_only_once_it_has_confirmed_a_program(wire: Wire):
    (sent,) = wire.send("x")
    wire.answer(1)
    wire.wait_for(2)
    wire.answer(2, "x")
    wait_until(lambda: sent.is_over)
    wire.send("y", "z")
    assert [message.awaits for message in wire.messages] == [False, True, False, False]


def test_the_programs_that_follow_several_verdicts_leave_together(wire: Wire, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_HOLD_S", LONG_S)
    sent = wire.send("a", "b")
    wire.answer(1)
    wire.answer(2, "a", "b")
    wait_until(lambda: all(one.is_over for one in sent))
    wire.send("c", "d")
    wire.wait_for(3)
    assert wire.batches() == [["a"], ["b"], ["c", "d"]]


def test_a_program_waits_for_others_only_a_moment(wire: Wire):
    wire.send("a", "b")
    wire.answer(1)
    wire.answer(2, "a", "b")
    wait_until(lambda: len(wire.ended) == 2)
    wire.send("c")
    wire.wait_for(3)
    assert wire.batches() == [["a"], ["b"], ["c"]]


def test_programs_that_are_too_long_together_travel_apart(wire: Wire, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MAX_BATCH", 10)
    long = "f" * 30
    wire.send("a", "b", "c" * 6, "d" * 3, "e" * 6, long)
    for number, count in ((1, 3), (2, 4), (3, 5)):
        wire.answer(number)
        wire.wait_for(count)
    assert wire.batches()[2:] == [["c" * 6, "d" * 3], ["e" * 6], [long]]


LOSSES = {
    "its first exchange is lost": lambda wire: wire.lose(1),
    "its last exchange is lost": lambda wire: wire.lose(2),
    "an answer cannot be read": lambda wire: wire.answer(1, raw=b"noise"),
    "an answer is too long": lambda wire: wire.answer(2, raw=bytes(MAX_ANSWER + 1)),
    "the machine hands programs back": lambda wire: wire.answer(2, fault="the engine is gone"),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_all_programs_of_a_channel_are_lost_together(wire: Wire, lose: Any):
    sent = wire.send(*"abcd")
    lose(wire)
    assert len(set(faults(*sent))) == 1
    assert wire.channel.fault == sent[0].fault
    assert faults(*wire.send("late")) == [wire.channel.fault]
    wait_until(lambda: len(wire.ended) == 5)
    assert len(wire.messages) <= 3


def test_verdicts_that_come_with_a_fault_count(wire: Wire):
    sent = wire.send(*"abc")
    wire.answer(1)
    wire.answer(2, "b", fault="the engine is gone")
    assert verdicts(*sent) == ["the engine is gone", "b", "the engine is gone"]


def test_the_exchanges_of_a_channel_that_is_lost_are_not_waited_for(wire: Wire):
    wire.send("x", "y")
    wire.lose(1)
    wait_until(lambda: wire.is_lost(2))


def test_a_program_is_lost_if_the_machine_is_not_there(wire: Wire):
    wire.is_there = False
    assert faults(*wire.send("x")) == ["it is not there"]


def test_a_verdict_on_a_program_that_was_not_sent_is_not_looked_at(wire: Wire):
    (sent,) = wire.send("x")
    wire.answer(1, "999")
    wire.wait_for(2)
    assert not sent.is_over
    wire.answer(2, "x")
    assert verdicts(sent) == ["x"]


def test_a_second_verdict_on_a_program_is_not_looked_at(wire: Wire):
    first, second = wire.send("x", "y")
    wire.answer(1, "x")
    wait_until(lambda: first.is_over)
    wire.answer(2, "x", "y")
    assert verdicts(first, second) == ["x", "y"]
    assert wire.ended == [first, second]


def test_a_program_that_was_given_up_has_no_verdict_and_is_not_asked_for(wire: Wire):
    (sent,) = wire.send("x")
    sent.end(fault="no answer within 120 s")
    wire.answer(1)
    (other,) = wire.send("y")
    wire.answer(2, "x", "y")
    assert verdicts(other) == ["y"]
    assert (verdicts(sent), len(wire.messages)) == (["no answer within 120 s"], 2)
    assert wire.channel.fault == ""


def test_a_machine_that_answers_without_a_verdict_at_once_is_not_asked_again_and_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_AT_LEAST_S", LONG_S)
    first, second = wire.send("x", "y")
    wire.answer(1)  # which the second exchange has released
    wait_until(lambda: first.has_arrived)
    wire.answer(2)
    assert faults(first, second) == ["it sent no verdict"] * 2


@pytest.fixture
def channels(wire: Wire) -> Iterator[Channels]:
    class Connected:
        """The machines of a cluster: one."""

        machines = wire.machines

        def submit(self, machine: str, task: Any, text: str) -> Pending:
            assert (machine, task.__name__) == (MACHINE.address, "exchange")
            return wire.submit(text)

    with contextlib.closing(Channels(cast(Members, Connected()), lambda machine: f"job on {machine.name}")) as channels:
        yield channels


def sent_through(channels: Channels, wire: Wire, program: str) -> Sent:
    sent = Sent(MACHINE, program, wire.ended.append)
    channels.send(sent)
    return sent


def test_after_a_loss_a_machine_has_another_channel(channels: Channels, wire: Wire):
    first = sent_through(channels, wire, "x")
    wire.lose(1)
    assert faults(first) == ["the machine left the cluster"]
    second = sent_through(channels, wire, "y")
    wire.answer(2, "y")
    assert verdicts(second) == ["y"]
    assert {message.job for message in wire.messages} == {"job on one"}
    assert len({message.channel for message in wire.messages}) == 2


def test_the_programs_of_a_machine_that_left_or_does_not_answer_are_lost(
    channels: Channels, wire: Wire, monkeypatch: pytest.MonkeyPatch
):
    sent = sent_through(channels, wire, "x")
    channels.look(wire.machines)
    assert not sent.is_over
    channels.look({})
    assert faults(sent) == ["the machine left the cluster"]
    sent = sent_through(channels, wire, "x")
    monkeypatch.setattr(module, "_ANSWER_S", -1.0)
    channels.look(wire.machines)
    assert faults(sent) == ["no answer within -1 s"]


def test_closing_loses_programs_that_run_and_those_that_come_later(channels: Channels, wire: Wire):
    sent = [sent_through(channels, wire, program) for program in "abc"]
    channels.close()
    assert faults(*sent, sent_through(channels, wire, "late")) == ["the sandbox was closed"] * 4
    assert wire.is_lost(1)
    assert wire.is_lost(2)
    assert len(wire.messages) == 2
