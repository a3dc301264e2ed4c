"""Call evolved functions of another process: messages, the caller's end in the scoring process, and the answering end.

A message is its length, one byte for its kind, and plain data (`codec`). The scoring side assumes nothing about an
answer except that it is plain data.
"""

from __future__ import annotations

import builtins
import functools
import os
import struct
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import codec

LOCKED, PATH, READY, CALL, VALUE, ERROR, EXIT, MEMORY, NEW = b"L", b"P", b"R", b"C", b"V", b"E", b"X", b"M", b"N"

_LENGTH = struct.Struct("<I")
_HEAD = _LENGTH.size + 1
_PIECE = 65536

Description = dict[str, Any]
"""Description of an error, as returned by `program.Program.describe` (`type`, `text`, `line`, `code`), with the name of
its builtin base class as `base`."""


class EvolvedError(RuntimeError):
    """Error raised by the evolved function; if that was a builtin error, this is an instance of its class as well.

    Errors that Python itself interprets (see `_CONTROL_FLOW_ERRORS` and `_SWALLOWING_METHODS`) arrive as this class
    alone.
    """

    def __init__(self, text: str, description: Description) -> None:
        super().__init__(text)
        self.description = description

    def __str__(self) -> str:
        return str(self.args[0])  # the text of a KeyError has its quotes already


class EvolvedProcessLost(BaseException):
    """Loss of the evolved functions' process, which a specification cannot take for the function's error.

    Attributes:
        record: Line of the report that describes the loss.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        error = record.get("error") or {"text": "its process ended"}
        super().__init__(f"the evolved function is lost: {error['text']}")
        self.record = record


class Connection:
    """One end of a connection of two pipes."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._buffered = b""
        self._read = os.read
        self._write = os.write

    def send(self, kind: bytes, data: bytes) -> None:
        message = _LENGTH.pack(len(data)) + kind + data
        sent = self._write(self._outgoing, message)
        while sent < len(message):
            sent += self._write(self._outgoing, memoryview(message)[sent : sent + _PIECE])

    def receive(self) -> tuple[bytes, bytes]:
        """Return the kind and data of the next message.

        Raises:
            EOFError: If the other side closed the connection.
            codec.Malformed: If the message is too long.
        """
        data = self._buffered or self._read_more()
        while len(data) < _HEAD:
            data += self._read_more()
        end = _LENGTH.unpack_from(data)[0] + _HEAD
        if end > codec.MAX_BYTES + _HEAD:
            raise codec.Malformed(f"{end} bytes, at most {codec.MAX_BYTES} cross")
        if len(data) < end:
            data = self._read_until(data, end)
        # An answer sent before the call answers the next call; this harms only the sender.
        self._buffered = data[end:]
        return data[_HEAD - 1 : _HEAD], data[_HEAD:end]

    def _read_until(self, data: bytes, end: int) -> bytes:
        whole = bytearray(data)
        while len(whole) < end:
            whole += self._read_more()
        return bytes(whole)

    def _read_more(self) -> bytes:
        data = self._read(self._incoming, _PIECE)
        if not data:
            raise EOFError
        return data


class RemoteFunctions:
    """Caller of the evolved functions, in the scoring process.

    Args:
        names: Names of the functions.
        connection: Connection with the process that has them.
        record: Called with each call, and with the kind and data of its answer.

    Attributes:
        lost: Set once the functions are lost; after that, no value that the specification returns is a score.
        ready: Description that the other side gave of itself when the functions were loaded.
    """

    def __init__(
        self,
        names: Sequence[str],
        connection: Connection,
        record: Callable[[bytes, bytes, bytes], object] = lambda _call, _kind, _answer: None,
    ) -> None:
        self.lost: EvolvedProcessLost | None = None
        self.ready = b""
        self._ready = False
        self._names = names
        self._connection = connection
        self._record = record
        # A specification may call from several threads.
        self._lock = threading.Lock()

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the evolved function with this 0-based number, and return its value."""
        with self._lock:
            if self.lost is not None:
                raise self.lost
            if not self._ready:
                self.await_ready()
            call = self._pack(number, args, kwargs)
            kind, data = self.ask(call)
            self._record(call, kind, data)
            if kind == VALUE:
                return self._load(data)
            raise self._to_error(kind, data)

    def record_dropped_errors(self) -> None:
        """Report from now on an evolved function's error that the interpreter drops, instead of a score.

        The interpreter drops errors in a thread, a finalizer or a weak reference's callback: no `except` ever sees
        them.
        """
        unraisable, in_thread = sys.unraisablehook, threading.excepthook

        def on_unraisable(event: Any) -> None:
            self._record_if_evolved(event.exc_value)
            unraisable(event)

        def on_thread_error(event: Any) -> None:
            self._record_if_evolved(event.exc_value)
            in_thread(event)

        sys.unraisablehook, threading.excepthook = on_unraisable, on_thread_error

    def _record_if_evolved(self, error: BaseException | None) -> None:
        while error is not None:
            if isinstance(error, EvolvedError):
                self._mark_lost({"error": error.description})
            error = error.__context__

    def await_ready(self) -> None:
        """Wait until the functions are loaded.

        Raises:
            EvolvedError: If loading the program failed.
            EvolvedProcessLost: If its process ended.
        """
        if self._ready:
            return
        kind, self.ready = self._exchange()
        if kind != READY:
            raise self._to_error(kind, self.ready)
        self._ready = True

    def _pack(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            return codec.dumps((number, args, kwargs) if kwargs else (number, args))
        except (TypeError, ValueError) as error:
            text = f"`{self._names[number]}` runs in a process of its own and cannot be called with this: {error}"
            raise self._mark_lost({"error": {"type": type(error).__name__, "text": text}}) from None

    def renew(self) -> None:
        """Have a new process answer the next calls, where the other side begins one when it is told to.

        Raises:
            EvolvedProcessLost: As for `ask`.
        """
        self._exchange(NEW)

    def ask(self, call: bytes) -> tuple[bytes, bytes]:
        """Send a call, and return the kind and data of its answer.

        Raises:
            EvolvedProcessLost: If the functions' process is gone, or answers what is no message.
        """
        return self._exchange(CALL, call)

    def _exchange(self, kind: bytes | None = None, data: bytes = b"") -> tuple[bytes, bytes]:
        """Send a message, if one is given, and return the next one."""
        try:
            if kind is not None:
                self._connection.send(kind, data)
            return self._connection.receive()
        except (EOFError, BrokenPipeError):
            raise self._mark_lost({"gone": True}) from None
        except codec.Malformed as error:
            raise self._mark_lost(_protocol_error(error)) from None

    def _load(self, data: bytes) -> Any:
        try:
            return codec.loads(data)
        except codec.Malformed as error:
            raise self._mark_lost(_protocol_error(error)) from None

    def _to_error(self, kind: bytes, data: bytes) -> BaseException:
        """Return the error to raise in the specification for an answer that is not a value."""
        if kind == MEMORY:
            return MemoryError("the evolved function ran out of memory")
        description = self._load(data)
        if kind not in (ERROR, EXIT) or not _is_description(description):
            return self._mark_lost(_protocol_error("no answer to a call"))
        if kind == EXIT:
            return self._mark_lost({"error": description})
        known = EvolvedError if _may_be_swallowed() else _ERROR_CLASSES.get(description["base"], EvolvedError)
        return known(description["text"], description)

    def _mark_lost(self, record: dict[str, Any]) -> EvolvedProcessLost:
        self.lost = EvolvedProcessLost(record)
        return self.lost


def serve_calls(
    connection: Connection,
    functions: Sequence[Callable[..., Any]],
    describe: Callable[[BaseException], Description],
) -> bool:
    """Answer calls until the other side closes, or wants another process to answer; return whether it wants that.

    It runs in the candidate's process, so it protects nothing.
    """
    dumps, loads = codec.dumps, codec.loads
    while True:
        try:
            wanted, data = connection.receive()
        except EOFError:
            return False
        if wanted == NEW:
            return True
        try:
            number, args, *named = loads(data)
            kind, reply = VALUE, dumps(functions[number](*args, **(named[0] if named else {})))
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            kind, reply = encode_error(error, describe)
        # Freed before the next call, because arguments may be large.
        args = named = data = None
        connection.send(kind, reply)


def encode_error(error: BaseException, describe: Callable[[BaseException], Description]) -> tuple[bytes, bytes]:
    """Return the kind and data of the message that describes an error."""
    if isinstance(error, MemoryError):
        return MEMORY, b""
    base = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return ERROR if isinstance(error, Exception) else EXIT, codec.dumps(describe(error) | {"base": base})


def _protocol_error(why: object) -> dict[str, Any]:
    return {"error": {"type": "ProtocolError", "text": f"the evolved function's process answered nonsense: {why}"}}


def _is_description(value: Any) -> bool:
    if type(value) is not dict or not all(type(value.get(key)) is str for key in ("type", "text", "code", "base")):
        return False
    return value.get("line") is None or type(value["line"]) is int


_CONTROL_FLOW_ERRORS = (StopIteration, StopAsyncIteration, AttributeError)
"""Errors that always arrive as plain `EvolvedError`. The first two end `for`, `map`, `zip`, `all`, `numpy.fromiter` and
similar as if the data had ended; the third makes `hasattr` and `getattr` act as if a property did not exist."""

_SWALLOWING_METHODS = frozenset(
    {"__getitem__", "__missing__", "__getattr__", "__getattribute__", "__get__", "__len__", "__length_hint__"}
    | {"__contains__", "__iter__", "__next__", "__aiter__", "__anext__", "__reversed__", "__array__", "__index__"}
    | {"__eq__", "__hash__"}
)
"""Methods of the specification within whose calls every error arrives as plain `EvolvedError`. Their callers take an
IndexError for the end of the data, a KeyError for a missing key, a ValueError for a missing item, a TypeError for an
unsupported operation."""

_MAX_WRAPPERS = 8
"""Maximum number of nested wrappers that are searched for a method's function."""

_swallows: dict[types.CodeType, bool] = {}
"""Whether a code object belongs to one of `_SWALLOWING_METHODS`, for each one seen so far."""


def _may_be_swallowed() -> bool:
    """Return whether one of `_SWALLOWING_METHODS` is among the callers, under that name or another."""
    codes: list[types.CodeType] = []
    frame = sys._getframe(1)
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    unknown = [code for code in codes if code not in _swallows]
    if unknown:
        methods = set(_codes_of_methods(object))
        _swallows.update((code, code.co_name in _SWALLOWING_METHODS or code in methods) for code in unknown)
    return any(_swallows[code] for code in codes)


def _codes_of_methods(kind: type) -> Iterator[types.CodeType]:
    """Yield the code of each of `_SWALLOWING_METHODS` in a class and its subclasses, whatever wraps it."""
    for name in _SWALLOWING_METHODS & vars(kind).keys():
        yield from _codes_of(vars(kind)[name])
    for derived in type.__subclasses__(kind):
        yield from _codes_of_methods(derived)


def _codes_of(method: Any, depth: int = 0) -> Iterator[types.CodeType]:
    """Yield the code of a function and of the functions it wraps."""
    if depth == _MAX_WRAPPERS:
        return
    if isinstance(method, types.FunctionType):
        yield method.__code__
    if isinstance(method, staticmethod | classmethod | types.MethodType):
        yield from _codes_of(method.__func__, depth + 1)
    elif isinstance(method, functools.partial | functools.partialmethod):
        yield from _codes_of(method.func, depth + 1)
    elif wrapped := getattr(method, "__dict__", {}).get("__wrapped__"):
        yield from _codes_of(wrapped, depth + 1)


def _error_classes() -> dict[str, type[EvolvedError]]:
    """Return, for each builtin error that takes a single text, a class that derives from both it and `EvolvedError`."""
    excluded = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError, BaseExceptionGroup, MemoryError)
    kinds = {}
    for name, kind in vars(builtins).items():
        if (
            isinstance(kind, type)
            and issubclass(kind, Exception)
            and not issubclass(kind, (*excluded, *_CONTROL_FLOW_ERRORS, Warning))
        ):
            bases = (EvolvedError,) if issubclass(EvolvedError, kind) else (EvolvedError, kind)
            kinds[name] = type(name, bases, {"__module__": "builtins"})
    return kinds


_ERROR_CLASSES = _error_classes()
