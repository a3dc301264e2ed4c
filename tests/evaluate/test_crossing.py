from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluate.runner import crossing
from tasks.evaluate.runner.crossing import Malformed, dumps, loads

crossing.know_numpy(np)

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
PLAIN = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


def kinds(value: Any) -> Any:
    """The types of all that is in a value: 1, 1.0 and True are equal."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value)


@given(PLAIN)
def test_plain_data_arrives_as_it_was(value: Any):
    got = loads(dumps(value))
    assert got == value
    assert kinds(got) == kinds(value)


@given(st.binary(max_size=200))
def test_noise_is_malformed_or_plain(data: bytes):
    try:
        value = loads(data)
    except Malformed:
        return
    loads(dumps(value))


@given(PLAIN, st.data())
def test_one_changed_byte_is_malformed_or_plain(value: Any, data: st.DataObject):
    message = bytearray(dumps((value, np.arange(3.0), np.float64(1.0))))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        loads(bytes(message))
    except Malformed:
        return


@pytest.mark.parametrize("tag", b"[({sbIqdQDAS")
def test_what_it_claims_to_hold_is_never_reserved(tag: int):
    tracemalloc.start()
    for rest in (b"\xff" * 8, b"\x03<f8\x02" + b"\xff" * 16, b"\x07<U99999\x01" + b"\xff" * 8):
        with pytest.raises(Malformed):
            loads(bytes((tag,)) + rest)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_subclasses_arrive_as_their_base():
    class Liar(float):
        def __float__(self) -> float:
            return 1e9

        def __radd__(self, other: float) -> float:
            return 1e9

    class Pair(tuple):
        __slots__ = ()

    got = loads(dumps([Liar(1.5), Pair((1, 2)), type("D", (dict,), {})(a=1)]))
    assert kinds(got) == kinds([1.5, (1, 2), {"a": 1}])


@pytest.mark.parametrize("value", [{1}, object(), len, 1j, np.array([object()]), np.ma.masked_array([1.0]), iter([])])
def test_all_else_is_refused(value: Any):
    with pytest.raises(TypeError, match="not plain data"):
        dumps([value])


def test_truth_values_of_numpy_are_0_or_1():
    got = loads(dumps(np.array([True, True])).replace(b"\x01\x01", b"\xff\x02"))
    assert got.sum() == 2
    assert got.view(np.uint8).tolist() == [1, 1]


def test_depth_is_limited_on_both_sides():
    value: list[Any] = []
    for _ in range(crossing.MAX_DEPTH - 1):
        value = [value]
    assert loads(dumps(value)) == value
    with pytest.raises(ValueError, match="deep"):
        dumps([value])
    with pytest.raises(Malformed, match="deep"):
        loads(b"[\1\0\0\0" * 100_000)


def test_not_a_number_and_infinity_arrive():
    got = loads(dumps((math.nan, math.inf, -math.inf)))
    assert math.isnan(got[0])
    assert got[1:] == (math.inf, -math.inf)


def test_length_is_limited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crossing, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 cross"):
        dumps(b"x" * 100)
