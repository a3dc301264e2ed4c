from __future__ import annotations

import math
import re
import struct
import tracemalloc
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from overnight.tasks.evaluate.runner import codec
from overnight.tasks.evaluate.runner.codec import Malformed, dumps, loads

codec.register_numpy(np)

SIMPLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=5)
PLAIN = st.recursive(
    SIMPLE,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=30,
)


def kinds(value: Any) -> Any:
    """Return the types of all parts of a value, since 1, 1.0 and True compare equal."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    if isinstance(value, dict):
        return dict, [(kinds(key), kinds(item)) for key, item in value.items()]
    return type(value)


@given(PLAIN)
def test_plain_data_is_restored_exactly(value: Any):
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
    message = bytearray(dumps((value, np.arange(3.0), np.float64(1.0), np.arange(6.0).reshape(2, 3).T)))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    try:
        loads(bytes(message))
    except Malformed:
        return


def text_of(code: str, *characters: int) -> bytes:
    """Return a message with a numpy array of texts of one character each."""
    data = struct.pack(f"{code[0]}{len(characters)}I", *characters)
    return b"A\x03" + code.encode() + b"\x01" + struct.pack("<Q", len(characters)) + data


@pytest.mark.parametrize("code", ["<U1", ">U1"])
@pytest.mark.parametrize("character", [0x110000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_text_of_numpy_outside_of_unicode_is_malformed(code: str, character: int):
    with pytest.raises(Malformed, match="outside of Unicode"):
        loads(text_of(code, ord("a"), character))
    with pytest.raises(Malformed, match="outside of Unicode"):
        loads(b"S\x03" + code.encode() + struct.pack(f"{code[0]}I", character))
    assert loads(text_of(code, 0x10FFFF, 0xD800, 0)).tolist() == ["\U0010ffff", "\ud800", ""]


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="every pattern of this machine's long double is valid")
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("code", ["g", "G"])
def test_an_extended_float_without_its_leading_bit_is_malformed(code: str, order: int):
    name = np.dtype(code) if order == 1 else np.dtype(code).newbyteorder()
    message = bytearray(dumps(np.array([1.5, -0.0, 3.4e-4940, np.inf, np.nan], name)))
    assert loads(bytes(message)).dtype == name
    # The leading bit of the last number is in byte 7 of its first ten.
    place = len(message) - name.itemsize + 7 if order == 1 else len(message) - 8
    message[place] ^= 0x80
    with pytest.raises(Malformed, match="not an extended float"):
        loads(bytes(message))


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Draw arrays of every layout: in C and in Fortran order, permuted, sliced, reversed, empty and without axes."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(["<f8", ">i4", "?", "<U2"]))
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    array = array.transpose(draw(st.permutations(range(len(shape)))))
    parts = [draw(st.sampled_from([slice(None), slice(1, None), slice(None, None, -2)])) for _ in shape]
    return array[(..., *parts)]


def layout(array: np.ndarray) -> list[int]:
    """Return the axes with several elements, in the order of memory; of an empty array, none."""
    axes = [axis for axis in range(array.ndim) if array.shape[axis] > 1 and array.size]
    return sorted(axes, key=lambda axis: -abs(array.strides[axis]))


@given(arrays())
def test_arrays_keep_the_order_of_their_axes_in_memory(array: np.ndarray):
    got = loads(dumps(array))
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert np.array_equal(got, array)
    assert layout(got) == layout(array)
    assert got.flags.writeable
    assert got.flags.owndata


def test_sums_of_a_transposed_array_are_the_same_on_the_other_side():
    points = np.random.default_rng(37).random((200, 37)).T
    assert loads(dumps(points)).sum() == points.sum() != points.copy().sum()
    assert loads(dumps(points)).flags.f_contiguous


@pytest.mark.parametrize("order", [b"\0\0", b"\0\2", b"\1\xff", b"\1"])
def test_an_order_of_axes_that_is_none_is_malformed(order: bytes):
    message = dumps(np.arange(4.0).reshape(2, 2).T)
    assert b"\1\0" in message
    with pytest.raises(Malformed, match="no order of 2 axes"):
        loads(message.partition(b"\1\0" + bytes(8))[0] + order)


PLAIN_TYPES = (type(None), bool, int, float, str, bytes, list, tuple, dict, np.ndarray, np.generic)


def exercise(value: Any) -> None:
    """Use a value as a specification might: print, compare, hash, modify and convert it."""
    assert isinstance(value, PLAIN_TYPES)
    assert type(value).__module__ in ("builtins", "numpy")
    assert isinstance(f"{value!r} {value}", str)
    assert np.all(value == value) in (True, False)
    if isinstance(value, np.ndarray):
        assert value.flags.writeable
        assert len(value.reshape(-1).tolist()) == value.size == len(np.sort(value, axis=None))
    elif isinstance(value, list | tuple):
        for item in value:
            exercise(item)
    elif isinstance(value, dict):
        for item in (*value, *value.values()):
            exercise(item)
    else:
        hash(value)
    loads(dumps(value))


NAMES = [*codec._DTYPES, b"<U1", b">U2", b"|S3", b"<U0", b"|O", b"<M8", b"|V8", b"<U1048577", b"|U1", b"f8"]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draw messages that are nearly valid: every tag, plausible counts, any content."""
    few = st.integers(0, 3)
    kind = draw(st.sampled_from(["array", "number", "text", "big", "packed", "list", "dict", "noise"]))
    noise = draw(st.binary(max_size=48) | st.integers(0, 3).map(lambda n: b"\xff" * 16 * n))
    count = struct.pack("<I", draw(few))
    if kind in ("array", "number"):
        name = draw(st.sampled_from(NAMES))
        head = bytes((len(name),)) + name
        if kind == "number":
            return b"S" + head + noise
        shape = draw(st.lists(few | st.sampled_from([2**31, 2**63, 2**64 - 1]), max_size=3))
        order = draw(st.none() | st.permutations(range(len(shape))) | st.binary(max_size=3))
        tag = b"A" if order is None else b"P"
        return tag + head + bytes((len(shape),)) + struct.pack(f"<{len(shape)}Q", *shape) + bytes(order or ()) + noise
    if kind in ("list", "dict"):
        if kind == "dict":
            return b"{" + draw(messages()) + draw(messages())
        parts = draw(st.lists(messages(), max_size=4))
        return draw(st.sampled_from([b"[", b"("])) + struct.pack("<I", len(parts)) + b"".join(parts)
    tags = {"text": b"sb", "big": b"Iif", "packed": b"qQdD", "noise": b"NTFAPS"}
    return bytes((draw(st.sampled_from(tags[kind])),)) + (count if kind != "noise" else b"") + noise


@seed(20260)
@settings(max_examples=4 * settings().max_examples)
@given(messages())
def test_every_decoded_value_can_be_used_like_plain_data(data: bytes):
    # Bytes after the value are removed, because a message seldom has exactly its declared length.
    try:
        value = loads(data)
    except Malformed as error:
        if not (follows := re.match(r"(\d+) bytes follow", str(error))):
            return
        value = loads(data[: -int(follows[1])])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exercise(value)


def test_an_empty_array_has_no_huge_axis():
    endless = b"A\x03<f8\x02" + struct.pack("<2Q", 2**31, 0)
    with pytest.raises(Malformed, match="an axis of 2147483648"):
        loads(endless)
    with pytest.raises(ValueError, match="an axis of"):
        dumps(np.empty((2**31, 0)))
    assert loads(dumps(np.empty((1000, 0, 3)))).shape == (1000, 0, 3)


@pytest.mark.parametrize("keys", ["ab", [1, 2], {1: 1, 2: 2}, (1,), (1, [2])], ids=str)
def test_a_dict_is_as_many_keys_as_values(keys: Any):
    assert loads(b"{" + dumps((1, "b")) + dumps((3, 4))) == {1: 3, "b": 4}
    with pytest.raises(Malformed):
        loads(b"{" + dumps(keys) + dumps((3, 4)))


@pytest.mark.parametrize("tag", b"[({sbIqdQDAPS")
def test_no_memory_is_reserved_for_a_declared_length(tag: int):
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
def test_other_types_are_refused(value: Any):
    with pytest.raises(TypeError, match="not plain data"):
        dumps([value])


def test_bools_of_numpy_are_0_or_1():
    got = loads(dumps(np.array([True, True])).replace(b"\x01\x01", b"\xff\x02"))
    assert got.sum() == 2
    assert got.view(np.uint8).tolist() == [1, 1]


def test_depth_is_limited_on_both_sides():
    value: list[Any] = []
    for _ in range(codec.MAX_DEPTH - 1):
        value = [value]
    assert loads(dumps(value)) == value
    with pytest.raises(ValueError, match="deep"):
        dumps([value])
    for level in (b"[\1\0\0\0", b"{(\1\0\0\0"):
        with pytest.raises(Malformed, match="deep"):
            loads(level * 100_000)


def test_not_a_number_and_infinity_arrive():
    got = loads(dumps((math.nan, math.inf, -math.inf)))
    assert math.isnan(got[0])
    assert got[1:] == (math.inf, -math.inf)


def test_length_is_limited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codec, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 cross"):
        dumps(b"x" * 100)
