"""Test what is recorded of calls, and how many of them a check repeats in processes of their own."""

from __future__ import annotations

import mmap

import pytest

from overnight.tasks.evaluate.runner import call_check, codec, rpc
from overnight.tasks.evaluate.runner.call_check import CallCheck, CallRecord


def recorded(record: CallRecord) -> bytes:
    memory = mmap.mmap(-1, call_check.SIZE)
    record.write(memory)
    return call_check.read_record(lambda offset, length: memory[offset : offset + length])


class Functions(rpc.RemoteFunctions):
    """Answers calls in this process: with the argument, or the number of calls since the last renewal."""

    def __init__(self, *, counts: bool = False, varies: bool = False) -> None:
        self.counts, self.varies, self.processes, self.asked = counts, varies, [0], 0

    def renew(self) -> None:
        self.processes.append(0)

    def ask(self, call: bytes) -> tuple[bytes, bytes]:
        self.processes[-1] += 1
        self.asked += 1
        _, args = codec.loads(call)
        answer = self.asked + 10**6 if self.varies else self.processes[-1] if self.counts else args[0]
        return rpc.VALUE, codec.dumps(answer)


def of_calls(count: int, size: int = 0) -> CallRecord:
    record = CallRecord()
    for number in range(count):
        record.add(codec.dumps((0, (number, bytes(size)))), rpc.VALUE, codec.dumps(number))
    return record


def check(functions: Functions, record: CallRecord, *, scoring_s: float = 0.0, may_vary: bool = False) -> str:
    return CallCheck(functions, ["f"], scoring_s, 4.0, may_vary).find_dependence(recorded(record))


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
    ("scoring_s", "spent_s", "has_time"),
    [(0.0, 0.29, True), (0.0, 0.31, False), (0.5, 0.5, True), (0.5, 1.0, False), (1.9, 0.0, False), (0.9, 0.2, True)],
)
def test_a_check_takes_three_times_the_scoring_at_most_and_half_the_limit(
    scoring_s: float, spent_s: float, has_time: bool
):
    assert CallCheck(Functions(), ["f"], scoring_s, 4.0, may_vary=False).has_time(spent_s, scoring_s) is has_time


def test_where_the_scoring_takes_half_the_limit_one_process_repeats_all_calls():
    functions = Functions()
    check(functions, of_calls(9), scoring_s=1.9)
    assert functions.processes == [9]
