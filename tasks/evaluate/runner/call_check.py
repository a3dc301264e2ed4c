"""Check that answers of evolved functions depend on their arguments alone: repeat calls in new processes.

A program may keep what it has computed from one call to the next, as long as every call has the value that it would
have by itself. So the scoring is done in one process, and a sample of its calls, which no program can foresee, is
recorded. Then the program is loaded anew, as another user, and gets these calls in another order: many of them as the
first call of a process, as far as time allows, and the rest one after the other. A value that depends on earlier calls,
on their number or on their order is another one there.
"""

from __future__ import annotations

import hashlib
import heapq
import mmap
import os
import reprlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import codec, rpc

_RECORD_BYTES = 8 * 2**20
"""Maximum size of the recorded calls of one input, bytes; one call is kept whatever its size."""

_RECORD_CALLS = 4096
"""Maximum number of calls that are recorded on an input."""

_MOST_ALONE = 64
"""Maximum number of calls that are the first of a process."""

_LEAST_S = 0.3
"""Seconds that a check may take where the scoring took less than a third of them."""

_PART_OF_LIMIT = 2
"""A check begins no further process after this part of the time limit of an input."""

_HEAD = struct.Struct("<QQI")
"""Head of a record: its length, the number of calls, and that of those which are recorded."""

_ENTRY = struct.Struct("<I16s")
"""Head of a recorded call: its length, and the digest of its answer."""

SIZE = codec.MAX_BYTES + _RECORD_BYTES + _HEAD.size + _RECORD_CALLS * _ENTRY.size
"""Maximum size of a record, bytes."""

_SEVERAL = bytes(16)
"""In place of the digest of an answer, where equal calls were answered differently."""


class CallRecord:
    """Record of calls, in the scoring process: of distinct ones a random sample, in random order.

    Attributes:
        calls: Number of calls so far.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._secret = os.urandom(16)
        self._kept: dict[int, tuple[bytes, bytes]] = {}
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
            if self._kept[key][1] != found:
                self._kept[key] = call, _SEVERAL
            return
        self._kept[key] = call, found
        heapq.heappush(self._last, -key)
        self._bytes += len(call)
        while len(self._kept) > 1 and (self._bytes > _RECORD_BYTES or len(self._kept) > _RECORD_CALLS):
            self._end = -heapq.heappop(self._last)
            self._bytes -= len(self._kept.pop(self._end)[0])

    def write(self, memory: mmap.mmap) -> None:
        """Write the record, its calls in the order of their keys, which is random."""
        memory.seek(_HEAD.size)
        for _, (call, found) in sorted(self._kept.items()):
            memory.write(_ENTRY.pack(len(call), found) + call)
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
    """

    functions: rpc.RemoteFunctions
    names: Sequence[str]
    scoring_s: float
    limit_s: float
    may_vary: bool

    def find_dependence(self, record: bytes) -> str:
        """Return in words which call's value depends on more than its arguments; empty if none does.

        Raises:
            EvolvedProcessLost: If the process of the evolved functions is gone.
        """
        began, longest_s, is_alone = time.monotonic(), self.scoring_s, True
        for place, (call, expected) in enumerate(_entries(record)):
            start = time.monotonic()
            is_alone = is_alone and place < _MOST_ALONE and self.has_time(start - began, longest_s)
            if place and is_alone:
                self.functions.renew()
            if _digest(*self.functions.ask(call)) != expected:
                first, second = self._answer_anew(call), self._answer_anew(call)
                return "" if first != second and self.may_vary else self._describe(call, varies=first != second)
            longest_s = max(longest_s, time.monotonic() - start)
        return ""

    def has_time(self, spent_s: float, longest_s: float) -> bool:
        """Return whether a further process and all that is left fit into the time of a check.

        Args:
            spent_s: Time since its beginning, seconds.
            longest_s: Time of the scoring, or of the longest call of the check, seconds.
        """
        allowed_s = min(self.limit_s / _PART_OF_LIMIT, max(_LEAST_S, 3 * self.scoring_s))
        return spent_s + 2 * longest_s <= allowed_s

    def _answer_anew(self, call: bytes) -> bytes:
        self.functions.renew()
        return _digest(*self.functions.ask(call))

    def _describe(self, call: bytes, *, varies: bool) -> str:
        number, args, *named = codec.loads(call)
        texts = [reprlib.repr(value) for value in args]
        texts += [f"{name}={reprlib.repr(value)}" for name, value in (named[0] if named else {}).items()]
        shown = f"{self.names[number]}({', '.join(texts)})"
        return f"{shown} {_VARIES if varies else _DEPENDS}"


_VARIES = "gives another value each time, in new processes too: seed all random numbers, and do not read the clock"

_DEPENDS = (
    "gives another value as the first call of a new process than after other calls: a value may depend on the "
    "arguments alone. What one call keeps for the next may save time, but not change a value: compute all that a call "
    "needs from its own arguments, with random numbers from a generator that is made there with a fixed seed"
)


def _entries(record: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each recorded call and the digest of its answer."""
    offset = _HEAD.size
    for _ in range(_HEAD.unpack_from(record)[2]):
        length, found = _ENTRY.unpack_from(record, offset)
        offset += _ENTRY.size
        yield record[offset : offset + length], found
        offset += length


def _digest(kind: bytes, answer: bytes) -> bytes:
    return hashlib.blake2b(kind + answer, digest_size=16).digest()
