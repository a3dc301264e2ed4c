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
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from overnight.schemas.code_hash import code_hash_of
from overnight.tasks.program import python_source
from overnight.tasks.program.scopes import (
    Binding,
    Names,
    Scope,
    has_no_effect,
    owner_of,
    parts_of,
    read_names,
)


def meaning_hash(text: str, surroundings: Collection[str] = ()) -> str:
    """Return a hash that is equal for texts which differ only in form, with every version of Python.

    `surroundings` are names that code around the text defines.

    Raises:
        SourceError: If it is not Python, is nested too deeply, or can see how it is written.
    """
    tree = python_source.parse(text)
    names = read_names(tree)
    try:
        written = _Writer(names, surroundings).text(tree, None)
    except (ValueError, RecursionError) as error:  # such as an integer with more digits than Python writes
        raise python_source.SourceError(f"cannot be written out: {error}") from error
    return code_hash_of(written)


class _Writer:
    """Writes a tree that has been read as a text, without what makes no difference to its meaning."""

    def __init__(self, names: Names, surroundings: Collection[str]) -> None:
        self._names = names
        self._numbers = _number_variables(names, has_range="range" not in names.defined and "range" not in surroundings)
        self._symbols: dict[tuple[Scope, str], str] = {}

    def text(self, part: Any, scope: Scope | None) -> str:
        """Return the text of a node, a list or a constant."""
        match part:
            case ast.AST() if part in self._names.values:
                return repr(self._names.values[part])
            case ast.Name(id=name):
                return self._symbol(name, scope)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if has_no_effect(part, scope):
                # An annotation of a name that is declared `global` is an error.
                is_declared = isinstance(target, ast.Name) and target.id in self._names.untouched
                return f"{is_declared or ''}{self.text(ast.Assign([target], value), scope)}"
            case ast.AST():
                own = self._names.scopes.get(part, scope)
                texts = [self.text(each, its_scope) for each, its_scope in parts_of(part, scope, own)]
                if isinstance(part, ast.BinOp) and self._is_sorted(part, scope):
                    texts.sort()
                return f"{type(part).__name__}({','.join(texts)})"
            case list():
                return f"[{','.join(self.text(each, scope) for each in part if not python_source.does_nothing(each))}]"
        return ascii(part)  # unlike `repr`, the same with every version of Python

    def _symbol(self, name: str, scope: Scope | None) -> str:
        """Return the number of a local variable, or the name of anything else."""
        owner = owner_of(name, scope)
        if owner is None or name in owner.kept or name in self._names.untouched or name.startswith("__"):
            return ascii(name)
        return self._symbols.setdefault((owner, name), f"${len(self._symbols)}")

    def _is_sorted(self, node: ast.BinOp, scope: Scope | None) -> bool:
        """Return whether the order of the operands makes no difference."""
        return isinstance(node.op, ast.Add | ast.Mult) and all(
            each in self._names.values
            or (isinstance(each, ast.Name) and (owner_of(each.id, scope), each.id) in self._numbers)
            for each in (node.left, node.right)
        )


_Variable = tuple[Scope | None, str]
"""A name with the scope that it belongs to."""

_User = _Variable | ast.expr
"""A variable or a sum, which is no number if one of its parts is none."""


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
    known: set[_User] = set()
    while others:
        if (one := others.pop()) not in known:
            known.add(one)
            others += users[one]
    return bindings.keys() - known


def _uses(
    bindings: Mapping[_Variable, Sequence[Binding]], names: Names, *, has_range: bool
) -> tuple[list[_User], Mapping[_User, list[_User]]]:
    """Return what is no number by itself, and for each variable and sum what is no number if that is none."""
    users: defaultdict[_User, list[_User]] = defaultdict(list)
    others = list[_User]()
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
