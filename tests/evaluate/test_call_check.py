"""Test what is recorded of calls, and how many of them a check repeats in processes of their own."""

from __future__ import annotations

import mmap
import random
import time
from collections.abc import Callable

import pytest

from overnight.tasks.evaluate.runner import call_check, codec, rpc
from overnight.tasks.evaluate.runner.call_check import CallCheck, CallRecord


def recorded(record: CallRecord) -> bytes:
    memory = mmap.mmap(-1, call_check.SIZE)
    record.write(memory)
    return call_check.read_record(lambda offset, length: memory[offset : offset + length])


class Functions(rpc.RemoteFunctions):
    """Answers calls in this process: with the argument, or the number of calls since the last renewal."""

    def __init__(self, *, counts: bool = False, varies: bool = False, call_s: float = 0.0) -> None:
        self.counts, self.varies, self.processes, self.asked = counts, varies, [0], 0
        self.call_s, self.told = call_s, 0

    def go_on(self) -> None:
        self.told += 1

    def renew(self) -> None:
        self.processes.append(0)

    def ask(self, call: bytes) -> tuple[bytes, bytes]:
        self.processes[-1] += 1
        self.asked += 1
        _, args = codec.loads(call)
        time.sleep(self.call_s)
        answer = self.asked + 10**6 if self.varies else self.processes[-1] if self.counts else args[0]
        return rpc.VALUE, codec.dumps(answer)


def of_calls(count: int, size: int = 0) -> CallRecord:
    record = CallRecord()
    for number in range(count):
        record.add(codec.dumps((0, (number, bytes(size)))), rpc.VALUE, codec.dumps(number))
    return record


def checker(functions: Functions, scoring_s: float, *, may_vary: bool = False) -> CallCheck:
    return CallCheck(functions, ["f"], scoring_s, 4.0, may_vary, functions.go_on)


def check(functions: Functions, record: CallRecord, *, scoring_s: float = 0.0, may_vary: bool = False) -> str:
    return checker(functions, scoring_s, may_vary=may_vary).find_dependence(recorded(record))


def test_a_check_repeats_distinct_calls_in_an_order_that_nobody_can_foresee():
    functions = Functions()
    record = of_calls(100)
    record.add(codec.dumps((0, (7, b""))), rpc.VALUE, codec.dumps(7))
    assert check(functions, record) == ""
    assert record.calls == 101
    assert functions.asked == 100
    assert functions.processes == [1] * 63 + [37]
    assert recorded(record)[-9000:] != recorded(of_calls(100))[-9000:]


def test_of_large_calls_a_sample_is_recorded_and_of_the_largest_one():
    few, one = Functions(), Functions()
    assert check(few, of_calls(40, 2**20)) == check(one, of_calls(2, 40 * 2**20)) == ""
    assert (few.asked, one.asked) == (7, 1)


def test_equal_calls_with_several_answers_are_found_without_any_order():
    record = of_calls(2)
    record.add(codec.dumps((0, (1, b""))), rpc.VALUE, codec.dumps(5))
    assert check(Functions(), record).startswith("f(1, b'') gives another value as the first call of a new process")


def test_the_number_of_calls_or_chance_in_a_value_is_found():
    assert "as the first call of a new process" in check(Functions(counts=True), of_calls(9))
    assert "each time, in new processes too" in check(Functions(varies=True), of_calls(9))
    assert check(Functions(varies=True), of_calls(9), may_vary=True) == ""
    assert check(Functions(counts=True), of_calls(9), may_vary=True)


@pytest.mark.parametrize(
    ("scoring_s", "spent_s", "is_alone"),
    [(0.0, 0.29, True), (0.0, 0.31, False), (0.5, 0.5, True), (0.5, 1.0, False), (1.9, 0.0, False), (0.9, 0.2, True)],
)
def test_a_check_takes_three_times_the_scoring_at_most_and_half_the_limit(
    scoring_s: float, spent_s: float, is_alone: bool
):
    found = checker(Functions(), scoring_s).is_alone(3, spent_s, scoring_s, before=True)
    assert found is is_alone


def test_where_the_scoring_takes_half_the_limit_three_processes_repeat_all_calls():
    functions = Functions()
    check(functions, of_calls(9), scoring_s=1.9)
    assert functions.processes == [1, 1, 7]


def test_a_check_ends_when_its_time_is_over_and_what_was_repeated_counts():
    functions = Functions(call_s=0.02)
    assert check(functions, of_calls(500)) == ""
    assert 3 <= functions.asked < 30, "0.3 s"


@pytest.mark.parametrize("may_vary", [False, True])
def test_the_first_three_calls_are_compared_whatever_time_they_take(may_vary: bool):
    functions = Functions(call_s=0.2)
    assert check(functions, of_calls(40), may_vary=may_vary) == ""
    assert functions.processes[:2] == [1, 1]
    assert len(functions.processes) == 3
    assert functions.asked < 6, "0.3 s for those that follow"


def test_the_supervisor_is_told_in_time_that_slow_calls_go_on():
    functions = Functions(call_s=0.15)
    CallCheck(functions, ["f"], 0.0, 1.0, may_vary=False, go_on=functions.go_on).find_dependence(recorded(of_calls(9)))
    assert functions.told == functions.asked - 1


class Drawing(Functions):
    """Answers each call with a number that is drawn."""

    def __init__(self, draw: Callable[[], object], call_s: float = 0.0) -> None:
        super().__init__(call_s=call_s)
        self.draw = draw

    def ask(self, call: bytes) -> tuple[bytes, bytes]:
        super().ask(call)
        return rpc.VALUE, codec.dumps(self.draw())


_CHANCE = random.Random(5)

HONESTLY_DRAWN = {
    "a coin": lambda: _CHANCE.randrange(2),
    "a bell": lambda: _CHANCE.gauss(0, 1),
    "far outliers": lambda: 1 / _CHANCE.random() ** 2,
    "a list": lambda: [_CHANCE.random()],
    "text": lambda: str(_CHANCE.random()),
}


def drawn(draw: Callable[[], object], lie: Callable[[int], object] | None = None, count: int = 100) -> CallRecord:
    record = CallRecord()
    for number in range(count):
        answer = draw() if lie is None else lie(number)
        record.add(codec.dumps((0, (number,))), rpc.VALUE, codec.dumps(answer))
    return record


@pytest.mark.parametrize("draw", HONESTLY_DRAWN.values(), ids=HONESTLY_DRAWN)
def test_chance_alone_is_no_dependence_where_values_may_vary(draw: Callable[[], object]):
    for _ in range(3):
        assert check(Drawing(draw), drawn(draw), may_vary=True) == ""


LIES = {
    "a count": lambda number: number + 2 + _CHANCE.random(),
    "half of them": lambda number: (number % 2) * 1e6 + _CHANCE.random(),
    "to both sides": lambda number: (-1) ** number * 3 + _CHANCE.random(),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_chance_in_a_value_does_not_hide_what_it_depends_on(lie: Callable[[int], object]):
    found = check(Drawing(_CHANCE.random), drawn(_CHANCE.random, lie), may_vary=True)
    assert "gave a value that is below or above all that new processes give, as " in found
