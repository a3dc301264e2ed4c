"""Hash Python source by its meaning: equal for programs that differ in form alone, such as names of local variables.

Equal hashes must never be given to programs that compute something else: whatever is in doubt counts as a difference.
The hash is taken of the syntax tree, written out after these changes, each of which keeps the meaning:

- Local variables are numbered in order of appearance. Names of parameters, globals, attributes, nested functions and
  classes stay, and so does every name that a class mentions, that `global` or `nonlocal` declares, or that is a word in
  a string, which a query of a data frame could look up.
- Arithmetic on numeric literals is folded as Python's compiler folds it: 2*3 is 6, but 6.0 is not.
- The operands of + and * are sorted if both are numbers for certain, and neither is more than a name or a literal: sums
  of sequences, and sums of more than two numbers, depend on the order.
- Docstrings and annotations of local variables are left out.

Code that can see how it is written, such as with `locals()` or `eval`, is refused.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from overnight.tasks.program import python_source
from overnight.tasks.program.scopes import (
    Binding,
    Names,
    Scope,
    defaults_of,
    does_nothing,
    expressions_around,
    fields_of,
    has_no_effect,
    owner_of,
    read_names,
    results_of,
)


def meaning_hash(text: str, surroundings: Collection[str] = ()) -> str:
    """Return 16 hex digits that are equal for texts which differ only in form.

    `surroundings` are names that code around the text defines.

    Raises:
        SourceError: If it is not Python, is nested too deeply, or can see how it is written.
    """
    tree = python_source.parse(text)
    names = read_names(tree)
    try:
        written = _Writer(names, surroundings).written(tree)
    except (ValueError, RecursionError) as error:  # such as an integer with more digits than Python writes
        raise python_source.SourceError(f"cannot be written out: {error}") from error
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Writer:
    """Writes a tree that has been read as a text, without what makes no difference to its meaning."""

    def __init__(self, names: Names, surroundings: Collection[str]) -> None:
        self._names = names
        self._numbers = _number_variables(names, has_range="range" not in names.defined and "range" not in surroundings)
        self._symbols: dict[tuple[Scope, str], str] = {}
        self._parts: list[str] = []

    def written(self, tree: ast.Module) -> str:
        self._write(tree, None)
        return "".join(self._parts)

    def _write(self, node: ast.AST, scope: Scope | None) -> None:
        value = self._names.values.get(node)
        if value is not None:
            self._parts.append(f"{value!r},")
        elif isinstance(node, ast.Name):
            self._parts.append(self._symbol(node.id, scope))
        elif isinstance(node, ast.AnnAssign) and node.value is not None and self._has_no_effect(node, scope):
            self._write(ast.Assign([node.target], node.value), scope)
        else:
            write = _WRITERS.get(type(node), _Writer._node)
            self._parts.append(f"{type(node).__name__}(")
            write(self, node, scope)
            self._parts.append(")")

    def _node(self, node: ast.AST, scope: Scope | None) -> None:
        for name in fields_of(type(node)):
            self._field(getattr(node, name, None), scope)

    def _field(self, value: Any, scope: Scope | None) -> None:
        if isinstance(value, ast.AST):
            self._write(value, scope)
        elif isinstance(value, list):
            self._parts.append("[")
            for each in value:
                if not does_nothing(each):
                    self._field(each, scope)
            self._parts.append("]")
        else:
            self._parts.append(f"{value!r},")

    def _symbol(self, name: str, scope: Scope | None) -> str:
        """Return the number of a local variable, or the name of anything else."""
        owner = owner_of(name, scope)
        if owner is None or name in owner.kept or name in self._names.untouched or name.startswith("__"):
            return f"{name!r},"
        return self._symbols.setdefault((owner, name), f"${len(self._symbols)},")

    def _optional_symbol(self, name: str | None, scope: Scope | None) -> None:
        self._parts.append("-" if name is None else self._symbol(name, scope))

    def _function(self, node: ast.FunctionDef, scope: Scope | None) -> None:
        self._parts.append(f"{node.name!r},")
        if node.decorator_list:  # their number tells them from what follows
            self._parts.append(f"{len(node.decorator_list)},")
        for each in expressions_around(node):
            self._field(each, scope)
        self._shape(node.args)
        self._field(node.body, self._names.scopes[node])

    def _lambda(self, node: ast.Lambda, scope: Scope | None) -> None:
        self._field(defaults_of(node.args), scope)
        self._shape(node.args)
        self._field(node.body, self._names.scopes[node])

    def _shape(self, arguments: ast.arguments) -> None:
        """Write the names and kinds of parameters, and which of them have defaults and annotations."""
        for kind in (
            arguments.posonlyargs,
            arguments.args,
            [arguments.vararg],
            arguments.kwonlyargs,
            [arguments.kwarg],
        ):
            described = [(each.arg, each.annotation is not None) for each in kind if each is not None]
            self._parts.append(f"{described!r},")
        self._parts.append(f"{len(arguments.defaults)},{[each is not None for each in arguments.kw_defaults]!r},")

    def _class(self, node: ast.ClassDef, _scope: Scope | None) -> None:
        self._node(node, self._names.scopes[node])

    def _comprehension(self, node: ast.ListComp, scope: Scope | None) -> None:
        own = self._names.scopes[node]
        for index, generator in enumerate(node.generators):
            self._field(generator.iter, own if index else scope)
            self._field([generator.target, generator.is_async, generator.ifs], own)
        self._field(results_of(node), own)

    def _annotated(self, node: ast.AnnAssign, scope: Scope | None) -> None:
        if self._has_no_effect(node, scope):
            self._write(node.target, scope)
        else:
            self._node(node, scope)

    def _has_no_effect(self, node: ast.AnnAssign, scope: Scope | None) -> bool:
        """Return whether an annotation makes no difference; one of a name that is declared `global` is an error."""
        is_declared = isinstance(node.target, ast.Name) and node.target.id in self._names.untouched
        return not is_declared and has_no_effect(node, scope)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope | None) -> None:
        self._parts.append(f"{getattr(node, 'module', None)!r},{getattr(node, 'level', 0)!r},[")
        for alias in node.names:
            name = alias.asname or (None if "." in alias.name or alias.name == "*" else alias.name)
            self._parts.append(f"{alias.name!r}:")
            self._optional_symbol(name, scope)
        self._parts.append("]")

    def _named(self, node: ast.AST, scope: Scope | None) -> None:
        """Write an exception handler or a pattern, which may bind a name."""
        for name in fields_of(type(node)):
            if name in ("name", "rest"):
                self._optional_symbol(getattr(node, name), scope)
            else:
                self._field(getattr(node, name), scope)

    def _operation(self, node: ast.BinOp, scope: Scope | None) -> None:
        self._parts.append(type(node.op).__name__)
        begin = len(self._parts)
        self._write(node.left, scope)
        middle = len(self._parts)
        self._write(node.right, scope)
        if isinstance(node.op, ast.Add | ast.Mult) and self._is_number(node.left, scope, node.right):
            self._parts[begin:] = sorted(["".join(self._parts[begin:middle]), "".join(self._parts[middle:])])

    def _is_number(self, node: ast.expr, scope: Scope | None, other: ast.expr) -> bool:
        return all(
            each in self._names.values
            or (isinstance(each, ast.Name) and (owner_of(each.id, scope), each.id) in self._numbers)
            for each in (node, other)
        )


_WRITERS: dict[type[ast.AST], Callable[..., None]] = {
    ast.AnnAssign: _Writer._annotated,
    ast.AsyncFunctionDef: _Writer._function,
    ast.BinOp: _Writer._operation,
    ast.ClassDef: _Writer._class,
    ast.DictComp: _Writer._comprehension,
    ast.ExceptHandler: _Writer._named,
    ast.FunctionDef: _Writer._function,
    ast.GeneratorExp: _Writer._comprehension,
    ast.Import: _Writer._import,
    ast.ImportFrom: _Writer._import,
    ast.Lambda: _Writer._lambda,
    ast.ListComp: _Writer._comprehension,
    ast.MatchAs: _Writer._named,
    ast.MatchMapping: _Writer._named,
    ast.MatchStar: _Writer._named,
    ast.SetComp: _Writer._comprehension,
}
"""Functions that write the nodes with names, scopes or an order of their own."""


_Variable = tuple[Scope | None, str]
"""A name with the scope that it belongs to."""


def _number_variables(names: Names, *, has_range: bool) -> set[_Variable]:
    """Return the local variables that are never bound to anything but integers and floats.

    `has_range` says whether `range` is Python's.
    """
    bindings: dict[_Variable, list[Binding]] = {
        (scope, name): values
        for scope in names.scopes.values()
        for name, values in scope.bound.items()
        if name not in scope.kept and name not in names.untouched
    }
    others, users = _uses(bindings, names, has_range=has_range)
    known: set[_Variable | ast.expr] = set()
    while others:
        if (one := others.pop()) not in known:
            known.add(one)
            others += users[one]
    return bindings.keys() - known


def _uses(
    bindings: Mapping[_Variable, Sequence[Binding]], names: Names, *, has_range: bool
) -> tuple[list[_Variable | ast.expr], Mapping[_Variable | ast.expr, list[_Variable | ast.expr]]]:
    """Return what is no number by itself, and for each variable and sum what is no number if that is none."""
    users: defaultdict[_Variable | ast.expr, list[_Variable | ast.expr]] = defaultdict(list)
    others = list[_Variable | ast.expr]()
    waiting = [(value, key[0], key) for key, values in bindings.items() for value in values]
    while waiting:
        value, scope, user = waiting.pop()
        match value:
            case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult()):
                if value not in users:
                    waiting += [(value.left, scope, value), (value.right, scope, value)]
                users[value].append(user)
            case ast.Name():
                variable = owner_of(value.id, scope), value.id
                users[variable].append(user)
                if variable not in bindings:
                    others.append(variable)
            case _ if not (value and has_range if isinstance(value, bool) else value in names.values):
                others.append(user)
    return others, users
