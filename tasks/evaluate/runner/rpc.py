"""Calls of evolved functions from the process that scores to the one that has the functions, and the answers.

A message is its length, one byte that says what it is, and plain data (`crossing`). The scoring side believes nothing
of an answer but that it is such data.
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

LOCKED, READY, CALL, VALUE, ERROR, EXIT, MEMORY = b"L", b"R", b"C", b"V", b"E", b"X", b"M"

_LENGTH = struct.Struct("<I")
_HEAD = _LENGTH.size + 1
_PIECE = 65536

Description = dict[str, Any]
"""Of an error, as `program.Program.describe` makes it: `type`, `text`, `line`, `code`; and here `base`."""


class EvolvedError(RuntimeError):
    """The evolved function raised; where a builtin error is what it raised, this is one of that kind as well.

    Errors that the language itself takes for an answer are this alone: see `_STEERING` and `_SWALLOWING`.
    """

    def __init__(self, text: str, description: Description) -> None:
        super().__init__(text)
        self.description = description


class EvolvedProcessLost(BaseException):
    """There is no answer, and there will be none: no error that a specification may take for the function's.

    Attributes:
        record: The line of the report that says so.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        super().__init__("the evolved function is lost")
        self.record = record


class Connection:
    """One end of a connection: two pipes."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._ahead = b""
        self._read = os.read
        self._write = os.write

    def send(self, kind: bytes, data: bytes) -> None:
        message = _LENGTH.pack(len(data)) + kind + data
        sent = self._write(self._outgoing, message)
        while sent < len(message):
            sent += self._write(self._outgoing, memoryview(message)[sent : sent + _PIECE])

    def receive(self) -> tuple[bytes, bytes]:
        """The next message's kind and data.

        Raises:
            EOFError: If the other side has closed.
            crossing.Malformed: If it is longer than may be.
        """
        data = self._ahead or self._more()
        while len(data) < _HEAD:
            data += self._more()
        end = _LENGTH.unpack_from(data)[0] + _HEAD
        if end > codec.MAX_BYTES + _HEAD:
            raise codec.Malformed(f"{end} bytes, at most {codec.MAX_BYTES} cross")
        if len(data) < end:
            data = self._rest(data, end)
        # Who answers before being asked answers the next call with it, and wrongs only itself.
        self._ahead = data[end:]
        return data[_HEAD - 1 : _HEAD], data[_HEAD:end]

    def _rest(self, data: bytes, end: int) -> bytes:
        whole = bytearray(data)
        while len(whole) < end:
            whole += self._more()
        return bytes(whole)

    def _more(self) -> bytes:
        data = self._read(self._incoming, _PIECE)
        if not data:
            raise EOFError
        return data


class RemoteFunctions:
    """Stands where the evolved functions stood, in the process that scores.

    Attributes:
        lost: Set once there is no answer; whatever the specification returns after that is no score.
    """

    def __init__(self, names: Sequence[str], line: Connection) -> None:
        self.lost: EvolvedProcessLost | None = None
        self._ready = False
        self._names = names
        self._line = line
        # A specification may call from several threads.
        self._one_at_a_time = threading.Lock()

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Has a function called; `number` says which."""
        with self._one_at_a_time:
            if self.lost is not None:
                raise self.lost
            if not self._ready:
                self.await_ready()
            kind, data = self._ask(CALL, self._pack(number, args, kwargs))
            if kind == VALUE:
                return self._load(data)
            raise self._error(kind, data)

    def heed_the_unseen(self) -> None:
        """From now on, an error of the function that the interpreter drops leaves no score.

        So it does with those of a thread, a finalizer or a callback of a weak reference: no `except` ever sees them.
        """
        unraisable, in_thread = sys.unraisablehook, threading.excepthook

        def drop(dropped: Any) -> None:
            self._heed(dropped.exc_value)
            unraisable(dropped)

        def end_thread(ended: Any) -> None:
            self._heed(ended.exc_value)
            in_thread(ended)

        sys.unraisablehook, threading.excepthook = drop, end_thread

    def _heed(self, error: BaseException | None) -> None:
        while error is not None:
            if isinstance(error, EvolvedError):
                self._lose({"error": error.description})
            error = error.__context__

    def await_ready(self) -> None:
        """Waits until the functions are loaded.

        Raises:
            EvolvedError: If loading it failed.
            Lost: If its process ended.
        """
        if self._ready:
            return
        kind, data = self._guarded(self._line.receive)
        if kind != READY:
            raise self._error(kind, data)
        self._ready = True

    def _pack(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            return codec.dumps((number, args, kwargs))
        except (TypeError, ValueError) as error:
            text = f"`{self._names[number]}` runs in a process of its own and cannot be called with this: {error}"
            raise self._lose({"error": {"type": type(error).__name__, "text": text}}) from None

    def _ask(self, kind: bytes, data: bytes) -> tuple[bytes, bytes]:
        def exchange() -> tuple[bytes, bytes]:
            self._line.send(kind, data)
            return self._line.receive()

        return self._guarded(exchange)

    def _guarded(self, exchange: Callable[[], tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
        try:
            return exchange()
        except (EOFError, BrokenPipeError):
            raise self._lose({"gone": True}) from None
        except ValueError as error:
            raise self._lose(_nonsense(error)) from None

    def _load(self, data: bytes) -> Any:
        try:
            return codec.loads(data)
        except codec.Malformed as error:
            raise self._lose(_nonsense(error)) from None

    def _error(self, kind: bytes, data: bytes) -> BaseException:
        """What an answer that is no value makes the specification meet."""
        if kind == MEMORY:
            return MemoryError("the evolved function ran out of memory")
        description = self._load(data)
        if kind not in (ERROR, EXIT) or not _is_description(description):
            return self._lose(_nonsense("no answer to a call"))
        if kind == EXIT:
            return self._lose({"error": description})
        known = EvolvedError if _may_be_swallowed() else _KINDS.get(description["base"], EvolvedError)
        return known(description["text"], description)

    def _lose(self, record: dict[str, Any]) -> EvolvedProcessLost:
        self.lost = EvolvedProcessLost(record)
        return self.lost


def answer(
    line: Connection, functions: Sequence[Callable[..., Any]], describe: Callable[[BaseException], Description]
) -> None:
    """Answers calls until the other side has closed. Runs in the candidate's process, so it protects nobody."""
    dumps, loads = codec.dumps, codec.loads
    while True:
        try:
            _, data = line.receive()
        except EOFError:
            return
        try:
            number, args, kwargs = loads(data)
            kind, reply = VALUE, dumps(functions[number](*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  a candidate may raise anything
            kind, reply = failure(error, describe)
        # Not kept until the next call: arguments may be large.
        args = kwargs = data = None
        line.send(kind, reply)


def failure(error: BaseException, describe: Callable[[BaseException], Description]) -> tuple[bytes, bytes]:
    """The message that tells of an error."""
    if isinstance(error, MemoryError):
        return MEMORY, b""
    base = next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")
    return ERROR if isinstance(error, Exception) else EXIT, codec.dumps(describe(error) | {"base": base})


def _nonsense(why: object) -> dict[str, Any]:
    return {"error": {"type": "ProtocolError", "text": f"the evolved function's process answered nonsense: {why}"}}


def _is_description(value: Any) -> bool:
    if type(value) is not dict or not all(type(value.get(key)) is str for key in ("type", "text", "code", "base")):
        return False
    return value.get("line") is None or type(value["line"]) is int


_STEERING = (StopIteration, StopAsyncIteration, AttributeError)
"""Errors that never arrive as themselves. The first two end `for`, `map`, `zip`, `all`, `numpy.fromiter` and the like
as if the data had ended; the third makes `hasattr` and `getattr` answer in the place of a property."""

_SWALLOWING = frozenset(
    {"__getitem__", "__missing__", "__getattr__", "__getattribute__", "__get__", "__len__", "__length_hint__"}
    | {"__contains__", "__iter__", "__next__", "__aiter__", "__anext__", "__reversed__", "__array__", "__index__"}
    | {"__eq__", "__hash__"}
)
"""Methods of the specification below which no error arrives as itself. What calls them takes an IndexError for the end
of the data, a KeyError for an absent key, a ValueError for an absent item, a TypeError for an unsupported operation."""

_LAYERS = 8
"""So many functions around one another are looked through."""

_swallows: dict[types.CodeType, bool] = {}
"""Whether a function of this code is such a method, for each that was met."""


def _may_be_swallowed() -> bool:
    """Whether a method of `_SWALLOWING` is among the callers, under that name or another."""
    met: list[types.CodeType] = []
    frame = sys._getframe(1)
    while frame is not None:
        met.append(frame.f_code)
        frame = frame.f_back
    unknown = [code for code in met if code not in _swallows]
    if unknown:
        methods = set(_codes_of_methods(object))
        _swallows.update((code, code.co_name in _SWALLOWING or code in methods) for code in unknown)
    return any(_swallows[code] for code in met)


def _codes_of_methods(kind: type) -> Iterator[types.CodeType]:
    """The code of every such method of a class and of those derived from it, however it was made one."""
    for name in _SWALLOWING & vars(kind).keys():
        yield from _codes_of(vars(kind)[name])
    for derived in type.__subclasses__(kind):
        yield from _codes_of_methods(derived)


def _codes_of(method: Any, depth: int = 0) -> Iterator[types.CodeType]:
    """The code of a function, and of those that it is made from."""
    if depth == _LAYERS:
        return
    if isinstance(method, types.FunctionType):
        yield method.__code__
    if isinstance(method, staticmethod | classmethod | types.MethodType):
        yield from _codes_of(method.__func__, depth + 1)
    elif isinstance(method, functools.partial | functools.partialmethod):
        yield from _codes_of(method.func, depth + 1)
    elif wrapped := getattr(method, "__dict__", {}).get("__wrapped__"):
        yield from _codes_of(wrapped, depth + 1)


def _kinds() -> dict[str, type[EvolvedError]]:
    """For each builtin error that one text is enough for, an error that is both it and an `EvolvedError`."""
    several = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError, BaseExceptionGroup, MemoryError)
    kinds = {}
    for name, kind in vars(builtins).items():
        if (
            isinstance(kind, type)
            and issubclass(kind, Exception)
            and not issubclass(kind, (*several, *_STEERING, Warning))
        ):
            bases = (EvolvedError,) if issubclass(EvolvedError, kind) else (EvolvedError, kind)
            kinds[name] = type(name, bases, {"__module__": "builtins"})
    return kinds


_KINDS = _kinds()
