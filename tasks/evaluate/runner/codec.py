"""Plain data as bytes, for calls between two processes of which neither may run anything of the other.

Reading makes nothing but None, bool, int, float, str, bytes, list, tuple, dict, and numpy's arrays and numbers; nothing
else can be named. Subclasses arrive as what they are based on: a float that lies is a float. Every value is one byte
that says what it is, then its content, little-endian; sequences of floats or of whole numbers are packed.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

MAX_BYTES = 64 * 2**20
"""Of one call's arguments, or of its result."""

MAX_DEPTH = 64
"""Of lists in lists, and the like."""

MAX_EMPTY = 2**20
"""Of the axes of an array without a number. A message of a few bytes could otherwise name an endless one, and whoever
goes along it, or makes a list of it, would not come back."""

_COUNT, _WHOLE, _REAL = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<d")

_Add = Callable[[bytes], object]
_Writer = Callable[[Any, _Add, int], object]
_Reader = Callable[[bytes, int, int], tuple[Any, int]]


class Malformed(ValueError):
    """The bytes are no plain data."""


def dumps(value: Any) -> bytes:
    """The value as bytes.

    Raises:
        TypeError: If it is not plain data.
        ValueError: If it is nested too deeply, or too long.
    """
    parts: list[bytes] = []
    _write(value, parts.append, 0)
    data = b"".join(parts)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes, at most {MAX_BYTES} cross")
    return data


def loads(data: bytes) -> Any:
    """The inverse of `dumps`, on bytes that nobody vouches for.

    Raises:
        Malformed: If they are not exactly one value.
    """
    try:
        value, end = _read(data, 0, 0)
    except (struct.error, LookupError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
    if end != len(data):
        raise Malformed(f"{len(data) - end} bytes follow the value")
    return value


def know_numpy(numpy: Any) -> None:
    """Makes numpy's arrays and numbers plain data, too."""
    global _numpy
    _numpy = numpy
    for code in "?bhilqBHILQefdgFDG":
        dtype = numpy.dtype(code)
        for ordered in (dtype, dtype.newbyteorder()):
            # Of two names for the same numbers, the usual one.
            _DTYPES.setdefault(ordered.str.encode(), ordered)
        _WRITERS[dtype.type] = _write_number
    _WRITERS[numpy.ndarray] = _write_array
    for kind in (numpy.str_, numpy.bytes_):
        _WRITERS[kind] = _write_number


_numpy: Any = None
_DTYPES: dict[bytes, Any] = {}
_LAST_CHARACTER = 0x10FFFF
_EXTENDED_BITS = 63
"""Bits of the mantissa that numpy names for the 80-bit floats of x86, the only ones with invalid patterns."""
_TEXT_DTYPE = re.compile(rb"[<>|][SU][1-9][0-9]{0,5}")


def _write(value: Any, add: _Add, depth: int) -> None:
    (_WRITERS.get(type(value)) or _writer_of(value))(value, add, depth)


def _writer_of(value: Any) -> _Writer:
    """For a subclass, that of its base."""
    for base in (int, float, str, bytes, list, tuple, dict):
        if isinstance(value, base):
            return lambda value, add, depth: _WRITERS[base](base(value), add, depth)
    raise TypeError(
        f"{type(value).__name__} is not plain data "
        "(None, bool, int, float, str, bytes, list, tuple, dict, numpy arrays and numbers)"
    )


def _write_int(value: int, add: _Add, depth: int) -> None:  # noqa: ARG001  all writers take the same
    try:
        add(b"i" + _WHOLE.pack(value))
    except struct.error:
        add(b"I" + _sized(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))


def _write_sequence(tags: tuple[bytes, bytes, bytes], value: Any, add: _Add, depth: int) -> None:
    any_items, whole_items, real_items = tags
    kinds = set(map(type, value))
    count = len(value)
    if kinds == {float}:
        add(real_items + _COUNT.pack(count) + struct.pack(f"<{count}d", *value))
        return
    if kinds == {int} and min(value) >= -(2**63) and max(value) < 2**63:
        add(whole_items + _COUNT.pack(count) + struct.pack(f"<{count}q", *value))
        return
    _check_depth(depth)
    add(any_items + _COUNT.pack(count))
    for item in value:
        _write(item, add, depth + 1)


def _write_dict(value: dict[Any, Any], add: _Add, depth: int) -> None:
    _check_depth(depth)
    add(b"{" + _COUNT.pack(len(value)))
    for key, item in value.items():
        _write(key, add, depth + 1)
        _write(item, add, depth + 1)


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")


def _dtype_name(dtype: Any) -> bytes:
    name = dtype.str.encode()
    if dtype.hasobject or (name not in _DTYPES and not _TEXT_DTYPE.fullmatch(name)):
        raise TypeError(f"an array of {dtype} is not plain data")
    return bytes((len(name),)) + name


def _write_array(value: Any, add: _Add, depth: int) -> None:  # noqa: ARG001
    shape = value.shape
    if not value.size and max(shape) > MAX_EMPTY:
        raise ValueError(f"an array of nothing with an axis of {max(shape)}, at most {MAX_EMPTY} cross")
    add(b"A" + _dtype_name(value.dtype) + bytes((len(shape),)) + struct.pack(f"<{len(shape)}Q", *shape))
    add(value.tobytes())


def _write_number(value: Any, add: _Add, depth: int) -> None:  # noqa: ARG001
    if not value.dtype.itemsize:
        add(b"s" + _sized(b"") if isinstance(value, str) else b"b" + _sized(b""))
        return
    add(b"S" + _dtype_name(value.dtype) + value.tobytes())


def _sized(data: bytes) -> bytes:
    return _COUNT.pack(len(data)) + data


_WRITERS: dict[type, _Writer] = {
    type(None): lambda value, add, depth: add(b"N"),  # noqa: ARG005
    bool: lambda value, add, depth: add(b"T" if value else b"F"),  # noqa: ARG005
    int: _write_int,
    float: lambda value, add, depth: add(b"f" + _REAL.pack(value)),  # noqa: ARG005
    str: lambda value, add, depth: add(b"s" + _sized(value.encode("utf-8", "surrogatepass"))),  # noqa: ARG005
    bytes: lambda value, add, depth: add(b"b" + _sized(value)),  # noqa: ARG005
    list: lambda value, add, depth: _write_sequence((b"[", b"q", b"d"), value, add, depth),
    tuple: lambda value, add, depth: _write_sequence((b"(", b"Q", b"D"), value, add, depth),
    dict: _write_dict,
}


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    return _READERS[data[at]](data, at + 1, depth)


def _constant(value: Any) -> _Reader:
    return lambda data, at, depth: (value, at)  # noqa: ARG005


def _read_piece(data: bytes, at: int) -> tuple[bytes, int]:
    """As many bytes as are said to follow."""
    begin = at + 4
    end = begin + _COUNT.unpack_from(data, at)[0]
    if end > len(data):
        raise ValueError("cut off")
    return data[begin:end], end


def _read_big(data: bytes, at: int, depth: int) -> tuple[int, int]:  # noqa: ARG001
    piece, end = _read_piece(data, at)
    return int.from_bytes(piece, "little", signed=True), end


def _read_text(data: bytes, at: int, depth: int) -> tuple[str, int]:  # noqa: ARG001
    piece, end = _read_piece(data, at)
    return piece.decode("utf-8", "surrogatepass"), end


def _read_items(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    _check_depth(depth)
    (count,) = _COUNT.unpack_from(data, at)
    at += 4
    items = []
    for _ in range(count):
        item, at = _READERS[data[at]](data, at + 1, depth + 1)
        items.append(item)
    return items, at


def _read_dict(data: bytes, at: int, depth: int) -> tuple[dict[Any, Any], int]:
    _check_depth(depth)
    (count,) = _COUNT.unpack_from(data, at)
    at += 4
    found = {}
    for _ in range(count):
        key, at = _read(data, at, depth + 1)
        found[key], at = _read(data, at, depth + 1)
    return found, at


def _read_packed(code: str) -> Callable[[bytes, int], tuple[tuple[Any, ...], int]]:
    def read(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        (count,) = _COUNT.unpack_from(data, at)
        return struct.unpack_from(f"<{count}{code}", data, at + 4), at + 4 + 8 * count

    return read


def _as_tuple(data: bytes, at: int, depth: int) -> tuple[tuple[Any, ...], int]:
    items, end = _read_items(data, at, depth)
    return tuple(items), end


def _packed_list(code: str) -> _Reader:
    read = _read_packed(code)

    def read_list(data: bytes, at: int, depth: int) -> tuple[list[Any], int]:  # noqa: ARG001
        items, end = read(data, at)
        return list(items), end

    return read_list


def _packed_tuple(code: str) -> _Reader:
    read = _read_packed(code)
    return lambda data, at, depth: read(data, at)  # noqa: ARG005


def _read_dtype(data: bytes, at: int) -> tuple[Any, int]:
    end = at + 1 + data[at]
    name = data[at + 1 : end]
    dtype = _DTYPES.get(name)
    if dtype is None:
        if _numpy is None or not _TEXT_DTYPE.fullmatch(name):
            raise ValueError(f"no type of numbers: {name[:20]!r}")
        dtype = _numpy.dtype(name.decode())
    return dtype, end


def _read_array(data: bytes, at: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
    dtype, at = _read_dtype(data, at)
    axes = data[at]
    shape = struct.unpack_from(f"<{axes}Q", data, at + 1)
    at += 1 + 8 * axes
    count = math.prod(shape)
    end = at + count * dtype.itemsize
    if end > len(data):
        raise ValueError("cut off")
    if not count:
        if max(shape, default=0) > MAX_EMPTY:
            raise ValueError(f"an array of nothing with an axis of {max(shape)}, at most {MAX_EMPTY}")
        return _numpy.empty(shape, dtype), end
    # A copy: what is read may be written to, and owns its memory.
    return _valid(_numpy.frombuffer(data, dtype, count, at)).reshape(shape).copy(), end


def _read_number(data: bytes, at: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
    dtype, at = _read_dtype(data, at)
    return _valid(_numpy.frombuffer(data, dtype, 1, at))[0], at + dtype.itemsize


def _valid(array: Any) -> Any:
    """Return an array whose bytes numpy itself could have written.

    Truth values of any byte but 0 and 1 would add up to more than there are, so they become True. Text outside of
    Unicode makes the interpreter fail where the text is first looked at. An extended float without its leading bit
    prints as a number and compares as none.

    Raises:
        ValueError: If they are bytes of another kind.
    """
    kind = array.dtype.kind
    if kind == "b":
        return array.view(_numpy.uint8) != 0
    if kind == "U" and array.view(_numpy.dtype("u4").newbyteorder(array.dtype.byteorder)).max() > _LAST_CHARACTER:
        raise ValueError("a character outside of Unicode")
    if array.dtype.char in "gG" and _numpy.finfo(array.dtype).nmant == _EXTENDED_BITS:
        _check_extended(array)
    return array


def _check_extended(array: Any) -> None:
    """Raises: ValueError: If an 80-bit float has an exponent without the leading bit, or that bit without one."""
    # A number has 16 bytes or 12, the 80 bits first, and all reversed in the other byte order; a complex one is two.
    width = array.dtype.itemsize // (2 if array.dtype.char == "G" else 1)
    numbers = array.view(_numpy.uint8).reshape(-1, width)[:, :: 1 if array.dtype.isnative else -1]
    has_leading_bit = numbers[:, 7] >= 0x80
    has_exponent = (numbers[:, 8] != 0) | (numbers[:, 9] & 0x7F != 0)
    if (has_leading_bit != has_exponent).any():
        raise ValueError("not an extended float")


_READERS: dict[int, _Reader] = {
    ord("N"): _constant(None),
    ord("T"): _constant(True),
    ord("F"): _constant(False),
    ord("i"): lambda data, at, depth: (_WHOLE.unpack_from(data, at)[0], at + 8),  # noqa: ARG005
    ord("I"): _read_big,
    ord("f"): lambda data, at, depth: (_REAL.unpack_from(data, at)[0], at + 8),  # noqa: ARG005
    ord("s"): _read_text,
    ord("b"): lambda data, at, depth: _read_piece(data, at),  # noqa: ARG005
    ord("["): _read_items,
    ord("("): _as_tuple,
    ord("q"): _packed_list("q"),
    ord("Q"): _packed_tuple("q"),
    ord("d"): _packed_list("d"),
    ord("D"): _packed_tuple("d"),
    ord("{"): _read_dict,
    ord("A"): _read_array,
    ord("S"): _read_number,
}
