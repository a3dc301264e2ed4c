"""Check that answers of evolved functions depend on their arguments alone: repeat calls in new processes.

A program may keep what it has computed from one call to the next, as long as every call has the value that it would
have by itself. So the scoring is done in one process, and a sample of its calls, which no program can foresee, is
recorded. Then the program is loaded anew, as another user, and gets these calls in another order: many of them as the
first call of a process, and the rest one after the other, as far as time allows. A value that depends on earlier calls,
on their number or on their order is another one there.

Nothing but a single call that takes longer than all calls may is held against a slow program. And none that is slow on
purpose gets out of the comparison of its first calls, whatever time they take.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import mmap
import os
import re
import reprlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

from . import codec, rpc

_RECORD_BYTES = 8 * 2**20
"""Maximum size of the recorded calls of one input, bytes; one call is kept whatever its size."""

_RECORD_CALLS = 4096
"""Maximum number of calls that are recorded on an input."""

_MOST_ALONE = 64
"""Maximum number of calls that are the first of a process."""

_LEAST_ALONE = 3
"""Number of calls that are the first of a process, whatever time they take, so that no program can escape by it."""

_LEAST_S = 0.3
"""Seconds that a check may take where the scoring took less than a third of them."""

_VARYING_S = 1.5
"""Seconds, or half the limit if that is more, that a check may take where values vary by themselves."""

_PART_OF_LIMIT = 2
"""A check begins no further process, beyond the first, after this part of the time limit of an input."""

_PART_OF_CALL = 10
"""A call has its limit less this part of it at least: the supervisor is told no more often that calls go on."""

_ANSWERS, _LEAST_ANSWERS, _EQUAL_ANSWERS = 7, 5, 63
"""Maximum number of answers of new processes to a call whose value varies; the number that it gets whatever time they
take; and the maximum while they are all equal."""

_OUTSIDE = 2 / (_ANSWERS + 1)
"""Maximum probability that a value which nothing but chance changes is below or above all answers of new processes."""

_BY_CHANCE = 1e-6
"""Probability with which so many values stand outside by chance, below which they are held against a program."""

_HEAD = struct.Struct("<QQI")
"""Head of a record: its length, the number of calls, and that of those which are recorded."""

_ENTRY = struct.Struct("<I16sd")
"""Head of a recorded call: its length, the digest of its answer, and the answer if it is a number, else NaN."""

_NUMBER_BYTES = 64
"""Maximum size of an answer that is a number, bytes."""

SIZE = codec.MAX_BYTES + _RECORD_BYTES + _HEAD.size + _RECORD_CALLS * _ENTRY.size
"""Maximum size of a record, bytes."""

_ADDRESS = re.compile(rb"0x[0-9a-f]+")

_SEVERAL = bytes(16)
"""In place of the digest of an answer, where equal calls were answered differently."""


class _Recorded(NamedTuple):
    """A call, the digest of its answer, and the answer if it is a number, else NaN."""

    call: bytes
    digest: bytes
    number: float


class CallRecord:
    """Record of calls, in the scoring process: of distinct ones a random sample, in random order.

    Attributes:
        calls: Number of calls so far.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._secret = os.urandom(16)
        self._kept: dict[int, _Recorded] = {}
        self._last: list[int] = []
        self._bytes = 0
        self._end = 2**64

    def add(self, call: bytes, kind: bytes, answer: bytes) -> None:
        """Add a call and its answer, if it is part of the sample."""
        self.calls += 1
        key = int.from_bytes(hashlib.blake2b(call, digest_size=8, key=self._secret).digest(), "little")
        if key >= self._end:
            return
        found = _digest(kind, answer)
        if key in self._kept:
            if self._kept[key].digest != found:
                self._kept[key] = self._kept[key]._replace(digest=_SEVERAL)
            return
        self._kept[key] = _Recorded(call, found, _number(kind, answer))
        heapq.heappush(self._last, -key)
        self._bytes += len(call)
        while len(self._kept) > 1 and (self._bytes > _RECORD_BYTES or len(self._kept) > _RECORD_CALLS):
            self._end = -heapq.heappop(self._last)
            self._bytes -= len(self._kept.pop(self._end).call)

    def write(self, memory: mmap.mmap) -> None:
        """Write the record, its calls in the order of their keys, which is random."""
        memory.seek(_HEAD.size)
        for _, (call, found, number) in sorted(self._kept.items()):
            memory.write(_ENTRY.pack(len(call), found, number) + call)
        memory[: _HEAD.size] = _HEAD.pack(memory.tell(), self.calls, len(self._kept))


def read_record(read: Callable[[int, int], bytes]) -> bytes:
    """Return a record without the unused rest of its memory.

    Args:
        read: Returns bytes of the memory, from an offset on, by their number.
    """
    return read(0, max(_HEAD.size, _HEAD.unpack(read(0, _HEAD.size))[0]))


def count_calls(record: bytes) -> int:
    """Return the number of calls of a record, those included that are not in it."""
    calls: int = _HEAD.unpack_from(record)[1]
    return calls


@dataclass(frozen=True)
class CallCheck:
    """Check of the recorded calls of one input, in a process that runs no code of a candidate.

    Attributes:
        functions: Caller of the evolved functions.
        names: Their names.
        scoring_s: Time that the scoring of the input took, seconds.
        limit_s: Time limit of an input, seconds.
        may_vary: Whether values may differ from run to run, since the problem declares noise.
        go_on: Tells the supervisor that a call has ended, so that the next one gets its own time.
    """

    functions: rpc.RemoteFunctions
    names: Sequence[str]
    scoring_s: float
    limit_s: float
    may_vary: bool
    go_on: Callable[[], object]

    def find_dependence(self, record: bytes) -> str:
        """Return in words which call's value depends on more than its arguments; empty if none does.

        Raises:
            EvolvedProcessLost: If the process of the evolved functions is gone.
        """
        clock, longest_s, is_alone = _Clock(self.allowed_s, self.limit_s / _PART_OF_CALL), self.scoring_s, True
        compared, varied, outside = 0, 0, 0
        for place, recorded in enumerate(_entries(record)):
            was_alone, is_alone = is_alone, self.is_alone(place, clock.spent_s, longest_s, before=is_alone)
            if was_alone and not is_alone:
                clock.allow(max(_LEAST_S, 2 * self.scoring_s))
            if varied == _MOST_ALONE or (not is_alone and clock.is_over):
                break
            start = time.monotonic()
            if place and is_alone:
                self.functions.renew()
            kind, answer = self._ask(recorded.call, clock)
            longest_s = max(longest_s, time.monotonic() - start)
            compared += not math.isnan(recorded.number)
            if _digest(kind, answer) == recorded.digest:
                continue
            answers = self._answers(recorded, clock)
            is_equal = _are_equal(answers)
            if is_equal or not self.may_vary:
                return self._describe(recorded.call, _DEPENDS if is_equal else _VARIES)
            varied += 1
            outside += len(answers) >= _ANSWERS and _is_outside(recorded.number, answers)
            if outside and _chance(outside, compared) < _BY_CHANCE:
                return self._describe(recorded.call, _STANDS_OUT.format(outside, compared))
        return ""

    @property
    def allowed_s(self) -> float:
        """Time of a check, seconds."""
        return min(self.limit_s / _PART_OF_LIMIT, max(_LEAST_S, 3 * self.scoring_s))

    def is_alone(self, place: int, spent_s: float, longest_s: float, *, before: bool) -> bool:
        """Return whether a call is to be the first of a process.

        Args:
            place: Number of calls before it.
            spent_s: Time since the beginning of the check, seconds.
            longest_s: Time of the scoring, or of the longest call of the check, seconds.
            before: Whether the call before it was.
        """
        has_time = spent_s + 2 * longest_s <= self.allowed_s  # for it, and for all that is left
        return place < _LEAST_ALONE or (before and has_time and place < _MOST_ALONE)

    def _ask(self, call: bytes, clock: _Clock) -> tuple[bytes, bytes]:
        if clock.is_due():
            self.go_on()
        return self.functions.ask(call)

    def _answers(self, recorded: _Recorded, clock: _Clock) -> list[_Recorded]:
        """Return the answers of several new processes, as many as tell whether a recorded answer is one like them."""
        answers: list[_Recorded] = []
        if self.may_vary:
            clock.extend(max(_VARYING_S, self.limit_s / _PART_OF_LIMIT))
        while True:
            self.functions.renew()
            answer = self._ask(recorded.call, clock)
            answers.append(_Recorded(recorded.call, _digest(*answer), _number(*answer)))
            count, is_equal = len(answers), _are_equal(answers)
            if count == 1:
                continue
            if not self.may_vary or count >= (_EQUAL_ANSWERS if is_equal else _ANSWERS):
                return answers
            if not (is_equal or _is_outside(recorded.number, answers)):
                return answers
            if count >= _LEAST_ANSWERS and clock.is_over:
                return answers

    def _describe(self, call: bytes, what: str) -> str:
        number, args, *named = codec.loads(call)
        texts = [reprlib.repr(value) for value in args]
        texts += [f"{name}={reprlib.repr(value)}" for name, value in (named[0] if named else {}).items()]
        shown = f"{self.names[number]}({', '.join(texts)})"
        return f"{shown} {what}"


class _Clock:
    """Time of a check, from its beginning on.

    Args:
        allowed_s: Time that it may take, seconds.
        due_s: Time after which the supervisor is to be told that calls go on, seconds.
    """

    def __init__(self, allowed_s: float, due_s: float) -> None:
        self._began = self._told = time.monotonic()
        self._ends, self._due_s = self._began + allowed_s, due_s

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._ends

    def extend(self, allowed_s: float) -> None:
        """Allow at least so much from the beginning on."""
        self._ends = max(self._ends, self._began + allowed_s)

    def allow(self, seconds: float) -> None:
        """Allow at least so much from now on."""
        self._ends = max(self._ends, time.monotonic() + seconds)

    def is_due(self) -> bool:
        """Return whether the supervisor is to be told now that calls go on."""
        if time.monotonic() - self._told < self._due_s:
            return False
        self._told = time.monotonic()
        return True


_VARIES = "gives another value each time, in new processes too: seed all random numbers, and do not read the clock"

_DEPENDS = (
    "gives another value as the first call of a new process than after other calls: a value may depend on the "
    "arguments alone. What one call keeps for the next may save time, but not change a value: compute all that a call "
    "needs from its own arguments, with random numbers from a generator that is made there with a fixed seed"
)

_STANDS_OUT = (
    "gave a value that is below or above all that new processes give, as {} of {} calls did, too many for chance: a "
    "value may depend on the arguments and on chance alone, not on earlier calls"
)


def _entries(record: bytes) -> Iterator[_Recorded]:
    """Yield each recorded call."""
    offset = _HEAD.size
    for _ in range(_HEAD.unpack_from(record)[2]):
        length, found, number = _ENTRY.unpack_from(record, offset)
        offset += _ENTRY.size
        yield _Recorded(record[offset : offset + length], found, number)
        offset += length


def _digest(kind: bytes, answer: bytes) -> bytes:
    """Return a digest of an answer, without the addresses of objects in the text of an error."""
    answer = answer if kind == rpc.VALUE else _ADDRESS.sub(b"0x", answer)
    return hashlib.blake2b(kind + answer, digest_size=16).digest()


def _number(kind: bytes, answer: bytes) -> float:
    """Return an answer that is a number, else NaN."""
    if kind == rpc.VALUE and len(answer) <= _NUMBER_BYTES:
        with suppress(codec.Malformed, OverflowError):
            value = codec.loads(answer)
            return float(value) if isinstance(value, Real) else math.nan
    return math.nan


def _are_equal(answers: Sequence[_Recorded]) -> bool:
    return all(answer.digest == answers[0].digest for answer in answers)


def _is_outside(number: float, answers: Sequence[_Recorded]) -> bool:
    """Return whether a number is below or above all answers; False if it, or one of them, is none."""
    return all(number < answer.number for answer in answers) or all(number > answer.number for answer in answers)


def _chance(outside: int, numbers: int) -> float:
    """Return the maximum probability that so many of these numbers, or more, stand outside by chance."""
    return sum(
        math.exp(
            math.lgamma(numbers + 1)
            - math.lgamma(count + 1)
            - math.lgamma(numbers - count + 1)
            + count * math.log(_OUTSIDE)
            + (numbers - count) * math.log1p(-_OUTSIDE)
        )
        for count in range(outside, numbers + 1)
    )
