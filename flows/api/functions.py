"""Specifications made of functions: their source, with what it uses of the module that it is in."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import math
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from overnight.schemas.errors import SpecificationError
from overnight.tasks.program.read_specification import read_specification

Function = Callable[..., Any]

_CONSTANTS = (bool, int, float, str, bytes, type(None))


def specification(
    *,
    start: Function,
    score: Function,
    inputs: Iterable[Any] = (),
    validation: Iterable[Any] = (),
    held_out: Iterable[Any] = (),
    title: str = "",
) -> str:
    """Return the specification that two functions describe, as the text of a file that `overnight run` takes.

    What the functions use of their module goes with them: imports, constants, functions and classes. A cell of a
    notebook is such a module, too.

    Args:
        start: Function to improve; its docstring is what a model is told.
        score: Function that scores it on one input: it calls it by its name, and returns a number; higher is better.
        inputs: Training inputs: plain data, each of them one call of `score`. A list is its arguments in order.
        validation: Inputs that choose the best program.
        held_out: Inputs that only the best program is scored on.
        title: Title of the problem; by default the first line of `score`'s docstring, without its period.

    Raises:
        SpecificationError: If a function is a lambda, a method or a closure or has no source, if it uses a value that
            has no source form, or if an input is no plain data.
    """
    for function, use in ((start, "start"), (score, "score")):
        _require_plain(function, use)
    if start.__name__ not in _names_used(score):
        raise _wrong(f"`{score.__name__}` does not call `{start.__name__}`, which it is to score")
    inputs, validation, held_out = (_listed(values) for values in (inputs, validation, held_out))
    if not inputs:
        raise _wrong("there are no inputs", "Give at least one, such as inputs=[7, 10].")
    for given in (*inputs, *validation, *held_out):
        as_json(given, f"the input {given!r:.80}")
    parts = _Parts()
    parts.add_uses_of(score, names=[start])
    parts.add_uses_of(start, names=[score])
    statement = inspect.cleandoc(score.__doc__ or "").strip()
    settings = {"title": title or statement.partition("\n")[0].rstrip(".") or start.__name__, "inputs": inputs}
    settings |= {name: values for name, values in (("validation", validation), ("held_out", held_out)) if values}
    future = any(each.__code__.co_flags & annotations.compiler_flag for each in (start, score))
    text = "\n".join(
        [
            *([_docstring(statement)] if statement else []),
            "# /// script",
            f"# dependencies = {json.dumps(parts.packages)}",
            "#",
            "# [tool.overnight]",
            *(f"# {name} = {_as_toml(value)}" for name, value in settings.items()),
            "# ///",
            "",
            *(["from __future__ import annotations", ""] if future else []),
            "import funsearch",
            *parts.imports,
            *_spaced(parts.definitions),
            "",
            "",
            "@funsearch.run",
            _source(score),
            "",
            "",
            "@funsearch.evolve",
            _source(start),
            "",
        ]
    )
    read = read_specification(text, score.__name__)
    for given in (*inputs, *validation, *held_out):
        read.call(given, "an input")
    return text


def _as_toml(value: Any) -> str:
    """Return plain data in TOML, in one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(str(key))} = {_as_toml(each)}' for key, each in value.items())}}}"
    if value is None:
        raise _wrong("an input holds None, which a specification cannot hold", "Use another value, such as false.")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def as_json(value: Any, name: str) -> str:
    """Return plain data as JSON; raise a SpecificationError if it is none."""
    try:
        _require_text_keys(value)
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _wrong(
            f"{name}: {error}", "Inputs are plain data, as in JSON: numbers, text, true and false, lists, dictionaries."
        ) from error


def _require_text_keys(value: Any) -> None:
    """Raise a TypeError at a dictionary's key that is no text, which JSON would make one."""
    if isinstance(value, dict):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"expected text as keys, got {wrong[0]!r}")
        value = list(value.values())
    for each in value if isinstance(value, list | tuple) else ():
        _require_text_keys(each)


def _listed(inputs: Iterable[Any]) -> list[Any]:
    if not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes):
        raise _wrong(f"expected a list of inputs, got {inputs!r:.80}", "Give a list, such as inputs=[7, 10].")
    return list(inputs)


def _wrong(message: str, remedy: str = "") -> SpecificationError:
    return SpecificationError(message, remedy=remedy or "Write a specification file: overnight init FILE")


def _require_plain(function: Function, use: str) -> None:
    """Check that a function is one that a module defines by `def`."""
    if not isinstance(function, FunctionType):
        raise _wrong(
            f"{use}: expected a function, got {type(function).__name__} {function!r:.80}",
            "Define a function by `def` in a module or a cell; it may call what it needs.",
        )
    name = function.__name__
    if name == "<lambda>":
        raise _wrong(f"{use}: a lambda has no name that could be called", "Define it by `def` in a module or a cell.")
    if function.__closure__:
        variables = ", ".join(function.__code__.co_freevars)
        raise _wrong(
            f"{use}: `{name}` is a closure over {variables}, which its source does not show",
            "Define it in a module or a cell, and give it what it needs as arguments or constants there.",
        )
    if "." in function.__qualname__:
        raise _wrong(
            f"{use}: `{function.__qualname__}` is a method, or is defined inside of a function",
            "Define it by `def` in a module or a cell.",
        )


def _source(function: Function | type) -> str:
    """Return the source of a function or class, without decorators of `funsearch`."""
    try:
        indented = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise _wrong(
            f"`{function.__name__}` has no source that could be read: {error}",
            "Define it in a file or in a cell of a notebook; the prompt of `python` keeps no source.",
        ) from error
    source = textwrap.dedent(indented).strip("\n")
    node = ast.parse(source).body[0]
    if source[:1] != indented[:1] and ast.dump(ast.parse(f"if 1:\n{indented}").body[0].body[0]) != ast.dump(node):  # pyright: ignore[reportAttributeAccessIssue]
        raise _wrong(
            f"`{function.__name__}` is indented, and a text in it would lose its indentation",
            "Define it at the left margin of a module or a cell.",
        )
    ours = [
        number
        for each in getattr(node, "decorator_list", [])
        if ast.unparse(each).startswith("funsearch.")
        for number in range(each.lineno, (each.end_lineno or each.lineno) + 1)
    ]
    return "\n".join(line for number, line in enumerate(source.splitlines(), 1) if number not in ours)


def _names_used(function: Function | type) -> list[str]:
    """Return the names that the source of a function or class reads, in their order, each once."""
    source = _source(function)
    scopes, read = [symtable.symtable(source, "", "exec")], set[str]()
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        is_top = scope.get_type() == "module"
        read |= {
            each.get_name() for each in scope.get_symbols() if each.is_global() or (is_top and each.is_referenced())
        }
    names = (node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return list(dict.fromkeys(name for name in names if name in read))


class _Parts:
    """The parts of their modules that functions use, each once, in an order in which it can be defined."""

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.definitions: list[str] = []
        self.packages: list[str] = []
        self._seen: dict[str, Any] = {}

    def add_uses_of(self, function: Function | type, *, names: Sequence[Function] = ()) -> None:
        """Add what a function or class uses, and what that uses in turn, but for itself and those that are `names`."""
        self._seen |= {each.__name__: each for each in (function, *names)}
        module = _globals_of(function)
        for name in _names_used(function):
            if name not in module:
                continue
            value = module[name]
            if name not in self._seen:
                self._seen[name] = value
                self._add(name, value, function)
            elif self._seen[name] is not value:
                raise _wrong(
                    f"`{name}` is one thing for `{function.__name__}` and another elsewhere",
                    "Give one of them another name: a specification is one file.",
                )

    def _add(self, name: str, value: Any, user: Function | type) -> None:
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or ""
        definition = inspect.unwrap(value) if callable(value) else value
        if isinstance(definition, FunctionType | type) and _is_local(home):
            if isinstance(definition, FunctionType) and definition.__name__ != "<lambda>":
                _require_plain(definition, f"`{user.__name__}` uses `{name}`")
            self.add_uses_of(definition)
            self.definitions.append(_source(definition))
            if definition.__name__ not in (name, "<lambda>"):
                self.definitions.append(f"{name} = {definition.__name__}")
        elif isinstance(value, ModuleType) and _is_local(home):
            raise _wrong(
                f"`{user.__name__}` uses `{home}`, a module of your own, which the sandbox does not have",
                f"Import what is used by its name: from {home} import ...",
            )
        elif isinstance(value, ModuleType):
            self._import(f"import {home}{_alias(name, home)}", home)
            for inner in _inner_modules(user, name, home):
                self._import(f"import {inner}", inner)
        elif hasattr(value, "__name__") and home and not _is_local(home):
            self._import(f"from {home} import {value.__name__}{_alias(name, value.__name__)}", home)
        elif _is_constant(value):
            self.definitions.append(f"{name} = {value!r}")
        else:
            raise _wrong(
                f"`{user.__name__}` uses `{name}`, a {type(value).__name__} whose value has no source form",
                "Make it inside of a function, or make it a constant of numbers, text, tuples, lists and dictionaries.",
            )

    def _import(self, statement: str, module: str) -> None:
        package = module.partition(".")[0]
        if package == "funsearch":
            return
        self.imports.append(statement)
        packages = [] if package in sys.stdlib_module_names else _packages().get(package, [])[:1]
        self.packages += [each for each in packages if each not in self.packages]


def _is_local(module: str) -> bool:
    """Return whether a module is neither of the standard library nor of an installed package."""
    package = module.partition(".")[0]
    known = package in sys.stdlib_module_names and package != "__main__"
    return not known and package != "funsearch" and package not in _packages()


def _packages() -> Mapping[str, list[str]]:
    """Return the distributions of each package that can be imported.

    To list them takes half a second, so it is done again only after a package was installed or removed.
    """
    folders = (Path(name) for name in sys.path if name.endswith("-packages"))
    return _packages_of(tuple(folder.stat().st_mtime_ns for folder in folders if folder.is_dir()))


@functools.lru_cache(maxsize=1)
def _packages_of(_: tuple[int, ...]) -> Mapping[str, list[str]]:
    return packages_distributions()


def _globals_of(defined: Function | type) -> Mapping[str, Any]:
    if isinstance(defined, FunctionType):
        return defined.__globals__
    module = sys.modules.get(defined.__module__)
    if module is None:
        raise _wrong(
            f"`{defined.__name__}` is of the module {defined.__module__!r}, which is not imported",
            "Import its file as a module.",
        )
    return vars(module)


def _inner_modules(user: Function | type, name: str, package: str) -> list[str]:
    """Return the modules of a package that a function reads through its name, such as `urllib.parse`."""
    nodes = ast.walk(ast.parse(_source(user)))
    read = [ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)]
    inner = [f"{package}.{each.removeprefix(f'{name}.')}" for each in read if each.startswith(f"{name}.")]
    return sorted({each for each in inner if each in sys.modules})


def _alias(name: str, own: str) -> str:
    return "" if name == own else f" as {name}"


def _is_constant(value: Any) -> bool:
    """Return whether a value is what its `repr` says."""
    if isinstance(value, float):
        return math.isfinite(value)
    if type(value) in (tuple, list, set):
        return all(map(_is_constant, value))
    if type(value) is dict:
        return all(_is_constant(each) for pair in value.items() for each in pair)
    return type(value) in _CONSTANTS


def _docstring(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'"""{quoted}\n"""' if "\n" in quoted or quoted.endswith('"') else f'"""{quoted}"""'


def _spaced(definitions: Iterable[str]) -> list[str]:
    """Return definitions with the blank lines that stand around functions."""
    return [line for each in definitions for line in (["", "", each] if "\n" in each else ["", each])]
