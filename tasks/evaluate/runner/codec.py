"""Encode plain data as bytes, for calls between two processes neither of which may run code of the other.

Decoding creates only None, bool, int, float, str, bytes, list, tuple, dict, and numpy's arrays and numbers; no other
type can be named. Instances of subclasses arrive as their base type, so a float with overridden methods arrives as a
plain float. Every value is encoded as a tag of one byte and its content, little-endian; sequences of floats or of
integers are packed. Arrays keep the order of their axes in memory, on which the last digits of sums depend.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

MAX_BYTES = 64 * 2**20
"""Maximum size of one call's arguments, or of its result, bytes."""

MAX_DEPTH = 64
"""Maximum nesting of lists, tuples and dicts."""

MAX_EMPTY = 2**20
"""Maximum length of an axis of an empty array. A message of a few bytes could otherwise describe a huge axis, and code
that iterates over it, or makes a list of it, would not return."""

_COUNT, _INT64, _FLOAT64 = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<d")

_Add = Callable[[bytes], object]
_Writer = Callable[[Any, _Add, int], object]
_Reader = Callable[[bytes, int, int], tuple[Any, int]]


class Malformed(ValueError):
    """The bytes are not valid plain data."""


def dumps(value: Any) -> bytes:
    """Return the value as bytes.

    Raises:
        TypeError: If it is not plain data.
        ValueError: If it is nested too deeply or too large.
    """
    parts: list[bytes] = []
    _write(value, parts.append, 0)
    data = b"".join(parts)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data)} bytes, at most {MAX_BYTES} cross")
    return data


def loads(data: bytes) -> Any:
    """Return the value encoded in untrusted bytes, the inverse of `dumps`.

    Raises:
        Malformed: If the bytes are not exactly one value.
    """
    try:
        value, end = _read(data, 0, 0)
    except (struct.error, LookupError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
    if end != len(data):
        raise Malformed(f"{len(data) - end} bytes follow the value")
    return value


def register_numpy(numpy: Any) -> None:
    """Accept numpy's arrays and numbers as plain data, too."""
    global _numpy
    _numpy = numpy
    for code in "?bhilqBHILQefdgFDG":
        dtype = numpy.dtype(code)
        for ordered in (dtype, dtype.newbyteorder()):
            # Of two names for the same type, the usual one.
            _DTYPES.setdefault(ordered.str.encode(), ordered)
        _WRITERS[dtype.type] = _write_number
    _WRITERS[numpy.ndarray] = _write_array
    for kind in (numpy.str_, numpy.bytes_):
        _WRITERS[kind] = _write_number


def has_numpy() -> bool:
    """Return whether arrays cross."""
    return _numpy is not None


_numpy: Any = None
_DTYPES: dict[bytes, Any] = {}
_LAST_CHARACTER = 0x10FFFF
_EXTENDED_BITS = 63
"""Bits of the mantissa that numpy names for the 80-bit floats of x86, the only ones with invalid patterns."""
_TEXT_DTYPE = re.compile(rb"[<>|][SU][1-9][0-9]{0,5}")


def _write(value: Any, add: _Add, depth: int) -> None:
    (_WRITERS.get(type(value)) or _writer_for_subclass(value))(value, add, depth)


def _writer_for_subclass(value: Any) -> _Writer:
    """Return the writer of the base type of a subclass's instance."""
    for base in (int, float, str, bytes, list, tuple, dict):
        if isinstance(value, base):
            return lambda value, add, depth: _WRITERS[base](base(value), add, depth)
    raise TypeError(
        f"{type(value).__name__} is not plain data "
        "(None, bool, int, float, str, bytes, list, tuple, dict, numpy arrays and numbers)"
    )


def _write_int(value: int, add: _Add, depth: int) -> None:  # noqa: ARG001  all writers have the same arguments
    try:
        add(b"i" + _INT64.pack(value))
    except struct.error:
        add(b"I" + _with_length(value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))


def _write_sequence(tags: tuple[bytes, bytes, bytes], value: Any, add: _Add, depth: int) -> None:
    any_tag, int_tag, float_tag = tags
    kinds = set(map(type, value))
    count = len(value)
    if kinds == {float}:
        add(float_tag + _COUNT.pack(count) + struct.pack(f"<{count}d", *value))
        return
    if kinds == {int} and min(value) >= -(2**63) and max(value) < 2**63:
        add(int_tag + _COUNT.pack(count) + struct.pack(f"<{count}q", *value))
        return
    _check_depth(depth)
    add(any_tag + _COUNT.pack(count))
    for item in value:
        _write(item, add, depth + 1)


def _write_dict(value: dict[Any, Any], add: _Add, depth: int) -> None:
    _check_depth(depth)
    add(b"{")
    # As two sequences, because those of numbers are packed.
    _write(tuple(value), add, depth)
    _write(tuple(value.values()), add, depth)


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
    head = _dtype_name(value.dtype) + bytes((len(shape),)) + struct.pack(f"<{len(shape)}Q", *shape)
    if value.flags.c_contiguous:
        add(b"A" + head)
        add(value.tobytes())
        return
    order = _axes_in_memory(value)
    add(b"P" + head + bytes(order))
    add(value.transpose(order).tobytes())


def _axes_in_memory(array: Any) -> list[int]:
    """Return an array's axes in the order of memory, the one with the longest steps first."""
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))


def _write_number(value: Any, add: _Add, depth: int) -> None:  # noqa: ARG001
    if not value.dtype.itemsize:
        add(b"s" + _with_length(b"") if isinstance(value, str) else b"b" + _with_length(b""))
        return
    add(b"S" + _dtype_name(value.dtype) + value.tobytes())


def _with_length(data: bytes) -> bytes:
    return _COUNT.pack(len(data)) + data


_WRITERS: dict[type, _Writer] = {
    type(None): lambda value, add, depth: add(b"N"),  # noqa: ARG005
    bool: lambda value, add, depth: add(b"T" if value else b"F"),  # noqa: ARG005
    int: _write_int,
    float: lambda value, add, depth: add(b"f" + _FLOAT64.pack(value)),  # noqa: ARG005
    str: lambda value, add, depth: add(b"s" + _with_length(value.encode("utf-8", "surrogatepass"))),  # noqa: ARG005
    bytes: lambda value, add, depth: add(b"b" + _with_length(value)),  # noqa: ARG005
    list: lambda value, add, depth: _write_sequence((b"[", b"q", b"d"), value, add, depth),
    tuple: lambda value, add, depth: _write_sequence((b"(", b"Q", b"D"), value, add, depth),
    dict: _write_dict,
}


def _read(data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    return _READERS[data[offset]](data, offset + 1, depth)


def _constant(value: Any) -> _Reader:
    return lambda data, offset, depth: (value, offset)  # noqa: ARG005


def _read_sized_bytes(data: bytes, offset: int) -> tuple[bytes, int]:
    """Read a length and return that many bytes, with the offset after them."""
    begin = offset + 4
    end = begin + _COUNT.unpack_from(data, offset)[0]
    if end > len(data):
        raise ValueError("cut off")
    return data[begin:end], end


def _read_big(data: bytes, offset: int, depth: int) -> tuple[int, int]:  # noqa: ARG001
    piece, end = _read_sized_bytes(data, offset)
    return int.from_bytes(piece, "little", signed=True), end


def _read_text(data: bytes, offset: int, depth: int) -> tuple[str, int]:  # noqa: ARG001
    piece, end = _read_sized_bytes(data, offset)
    return piece.decode("utf-8", "surrogatepass"), end


def _read_items(data: bytes, offset: int, depth: int) -> tuple[list[Any], int]:
    _check_depth(depth)
    (count,) = _COUNT.unpack_from(data, offset)
    offset += 4
    items = []
    for _ in range(count):
        item, offset = _READERS[data[offset]](data, offset + 1, depth + 1)
        items.append(item)
    return items, offset


def _read_dict(data: bytes, offset: int, depth: int) -> tuple[dict[Any, Any], int]:
    keys, offset = _read_tuple(data, offset, depth)
    values, offset = _read_tuple(data, offset, depth)
    return dict(zip(keys, values, strict=True)), offset


def _read_tuple(data: bytes, offset: int, depth: int) -> tuple[tuple[Any, ...], int]:
    if data[offset] not in b"(QD":
        raise ValueError("the keys and values of a dict are no tuples")
    return _READERS[data[offset]](data, offset + 1, depth)


def _as_tuple(data: bytes, offset: int, depth: int) -> tuple[tuple[Any, ...], int]:
    items, end = _read_items(data, offset, depth)
    return tuple(items), end


def _packed(code: str, kind: type) -> _Reader:
    def read(data: bytes, offset: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
        (count,) = _COUNT.unpack_from(data, offset)
        return kind(struct.unpack_from(f"<{count}{code}", data, offset + 4)), offset + 4 + 8 * count

    return read


def _read_dtype(data: bytes, offset: int) -> tuple[Any, int]:
    end = offset + 1 + data[offset]
    name = data[offset + 1 : end]
    dtype = _DTYPES.get(name)
    if dtype is None:
        if _numpy is None or not _TEXT_DTYPE.fullmatch(name):
            raise ValueError(f"no type of numbers: {name[:20]!r}")
        dtype = _numpy.dtype(name.decode())
    return dtype, end


def _read_array(data: bytes, offset: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
    dtype, shape, offset = _read_array_head(data, offset)
    values, end = _read_elements(data, offset, dtype, shape)
    # Copied, so that the array is writable and owns its memory.
    return values.reshape(shape).copy(), end


def _read_permuted_array(data: bytes, offset: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
    """Read an array whose axes are in another order in memory."""
    dtype, shape, offset = _read_array_head(data, offset)
    axes = range(len(shape))
    order = data[offset : offset + len(shape)]
    if sorted(order) != list(axes):
        raise ValueError(f"no order of {len(shape)} axes: {order[:20]!r}")
    values, end = _read_elements(data, offset + len(shape), dtype, shape)
    in_memory = values.reshape([shape[axis] for axis in order])
    return in_memory.transpose(sorted(axes, key=order.__getitem__)).copy(order="K"), end


def _read_array_head(data: bytes, offset: int) -> tuple[Any, tuple[int, ...], int]:
    """Return the type and the shape of an array, and the offset after them."""
    dtype, offset = _read_dtype(data, offset)
    axes = data[offset]
    return dtype, struct.unpack_from(f"<{axes}Q", data, offset + 1), offset + 1 + 8 * axes


def _read_elements(data: bytes, offset: int, dtype: Any, shape: tuple[int, ...]) -> tuple[Any, int]:
    """Return the elements of an array in the order of memory, and the offset after them."""
    count = math.prod(shape)
    end = offset + count * dtype.itemsize
    if end > len(data):
        raise ValueError("cut off")
    if not count:
        if max(shape, default=0) > MAX_EMPTY:
            raise ValueError(f"an array of nothing with an axis of {max(shape)}, at most {MAX_EMPTY}")
        return _numpy.empty(0, dtype), end
    return _validated(_numpy.frombuffer(data, dtype, count, offset)), end


def _read_number(data: bytes, offset: int, depth: int) -> tuple[Any, int]:  # noqa: ARG001
    dtype, offset = _read_dtype(data, offset)
    return _validated(_numpy.frombuffer(data, dtype, 1, offset))[0], offset + dtype.itemsize


def _validated(array: Any) -> Any:
    """Return an array whose bytes numpy itself could have written.

    A bool with a byte other than 0 and 1 would be summed as that number, so it becomes True. Text outside Unicode makes
    the interpreter fail when the text is first used. An extended float without its leading bit prints as a number, but
    compares as none.

    Raises:
        ValueError: If the bytes are not valid for the array's type.
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
    """Check 80-bit floats.

    Raises:
        ValueError: If one has an exponent but no leading bit, or a leading bit but no exponent.
    """
    # A number has 16 or 12 bytes, the 80 bits first, all reversed in the other byte order; a complex number is two of
    # them.
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
    ord("i"): lambda data, offset, depth: (_INT64.unpack_from(data, offset)[0], offset + 8),  # noqa: ARG005
    ord("I"): _read_big,
    ord("f"): lambda data, offset, depth: (_FLOAT64.unpack_from(data, offset)[0], offset + 8),  # noqa: ARG005
    ord("s"): _read_text,
    ord("b"): lambda data, offset, depth: _read_sized_bytes(data, offset),  # noqa: ARG005
    ord("["): _read_items,
    ord("("): _as_tuple,
    ord("q"): _packed("q", list),
    ord("Q"): _packed("q", tuple),
    ord("d"): _packed("d", list),
    ord("D"): _packed("d", tuple),
    ord("{"): _read_dict,
    ord("A"): _read_array,
    ord("P"): _read_permuted_array,
    ord("S"): _read_number,
}
