"""Read which names of Python source are local variables, and what is known about their values."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from overnight.tasks.program import python_source

_MAX_LEVELS = 100
"""Limit on the levels of a tree. Each takes up to four frames of Python's stack, so that those of callers have room."""

_MAX_FOLDED = 1 << 127
"""Limit on a folded integer; Python's compiler leaves larger products alone, too."""

_REFLECTION = frozenset(
    (
        *("_current_frames", "_getframe", "currentframe", "getsource", "setprofile", "settrace"),
        *("__annotations__", "__closure__", "__code__", "__doc__"),
        *("ag_frame", "cr_frame", "gi_frame", "tb_frame", "f_back", "f_code", "f_locals"),
        *("co_cellvars", "co_code", "co_consts", "co_freevars", "co_names", "co_varnames"),
    )
)
"""Attributes that tell how a function is written."""

_REFLECTIVE_METHODS = frozenset(("eval", "evaluate", "query"))
"""Methods that may look up local variables of their callers, such as those of pandas and numexpr."""

_REFLECTIVE_NAMES = frozenset(
    (
        *("__builtins__", "__import__", "builtins", "breakpoint", "compile", "eval", "exec"),
        *("dir", "globals", "locals", "vars"),
    )
)
"""Functions that tell how a function is written, or run text as code."""

_REFLECTIVE_MODULES = frozenset(("dis", "gc", "inspect", "linecache", "numexpr", "symtable", "traceback"))
"""Modules with such functions."""

_WORD = re.compile(r"[^\W\d]\w*")
_PLAIN_ANNOTATION = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.BinOp)
"""Nodes of annotations that are never evaluated and bind nothing."""

_OPERATIONS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
}
"""Operations with one correct result on every machine, unlike powers of floats."""


def may_see_names(text: str) -> bool:
    """Return whether code that calls others, such as one that scores them, may look at how they are written."""
    return not (_REFLECTION | {"inspect", "linecache"}).isdisjoint(_WORD.findall(text))


Binding = ast.expr | bool
"""A value that a variable is bound to; else whether it is a number."""


@dataclass(eq=False, slots=True)
class Scope:
    """A function, lambda, comprehension or class.

    Attributes:
        parent: The scope around it; `None` if that is the module.
        kept: Parameters, and names of functions and classes that it defines.
        bound: Other local variables with the values that they are bound to.
        is_comprehension: Whether it is a comprehension, in which `:=` binds a variable of the scope around it.
        is_class: Whether it is a class, of which no name changes.
    """

    parent: Scope | None
    is_comprehension: bool = False
    is_class: bool = False
    kept: set[str] = field(default_factory=set)
    bound: dict[str, list[Binding]] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Names:
    """Result of reading a tree.

    Attributes:
        scopes: The scope that a node begins, by the node.
        untouched: Names that stay, wherever they are.
        defined: All names that the text binds, in any scope or as globals.
        values: Values of literals and of arithmetic on them, by their nodes.
    """

    scopes: dict[ast.AST, Scope] = field(default_factory=dict)
    untouched: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)
    values: dict[ast.AST, float] = field(default_factory=dict)


def read_names(tree: ast.Module) -> Names:
    """Return the names of a tree.

    Raises:
        SourceError: If it is nested too deeply, or can see how it is written.
    """
    names = Names()
    _Reader(names).visit(tree, None, 0)
    return names


class _Reader:
    """Finds the scopes of a tree and what each binds."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def visit(self, node: ast.AST, scope: Scope | None, level: int) -> None:
        if level > _MAX_LEVELS:
            raise python_source.SourceError(f"nested more than {_MAX_LEVELS} levels deep")
        read = _READERS.get(type(node), _Reader._children)
        read(self, node, scope, level + 1)

    def _children(self, node: ast.AST, scope: Scope | None, level: int) -> None:
        for name in fields_of(type(node)):
            value = getattr(node, name, None)
            if isinstance(value, list):
                self._list(value, scope, level)
            elif isinstance(value, ast.AST) and value._fields:
                self.visit(value, scope, level)

    def _list(self, nodes: Sequence[ast.AST], scope: Scope | None, level: int) -> None:
        for node in nodes:
            if isinstance(node, ast.AST) and not does_nothing(node):
                self.visit(node, scope, level)

    def _bind(self, name: str, scope: Scope | None, value: Binding) -> None:
        self._names.defined.add(name)
        if scope is not None:
            scope.bound.setdefault(name, []).append(value)

    def _keep(self, name: str, scope: Scope | None) -> None:
        self._names.defined.add(name)
        if scope is not None:
            scope.kept.add(name)

    def _target(self, target: ast.expr, scope: Scope | None, value: Binding, level: int) -> None:
        if isinstance(target, ast.Name):
            self._bind(target.id, scope, value)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            is_starred = any(isinstance(each, ast.Starred) for each in (*target.elts, *value.elts))
            for each, its_value in zip(target.elts, value.elts, strict=True):
                self._target(each, scope, its_value if not is_starred else False, level)
        else:
            self.visit(target, scope, level)

    def _name(self, node: ast.Name, scope: Scope | None, _level: int) -> None:
        if node.id in _REFLECTIVE_NAMES or node.id in _REFLECTION:
            raise python_source.SourceError(f"uses {node.id}")
        if not isinstance(node.ctx, ast.Load):
            self._bind(node.id, scope, value=False)

    def _constant(self, node: ast.Constant, _scope: Scope | None, _level: int) -> None:
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._names.values[node] = value
        elif isinstance(value, str):
            words = _WORD.findall(value)
            if not _REFLECTION.isdisjoint(words):
                raise python_source.SourceError("names an attribute that tells how code is written")
            self._names.untouched.update(words)

    def _attribute(self, node: ast.Attribute, scope: Scope | None, level: int) -> None:
        if node.attr in _REFLECTION or node.attr in _REFLECTIVE_METHODS:
            raise python_source.SourceError(f"uses the attribute {node.attr}")
        self.visit(node.value, scope, level)

    def _function(self, node: ast.FunctionDef, scope: Scope | None, level: int) -> None:
        if getattr(node, "type_params", None):
            raise python_source.SourceError("has type parameters")
        self._keep(node.name, scope)
        for each in expressions_around(node):
            self.visit(each, scope, level)
        self._list(node.body, self._parameters(node, node.args, scope), level)

    def _lambda(self, node: ast.Lambda, scope: Scope | None, level: int) -> None:
        for each in defaults_of(node.args):
            self.visit(each, scope, level)
        self.visit(node.body, self._parameters(node, node.args, scope), level)

    def _parameters(self, node: ast.AST, arguments: ast.arguments, parent: Scope | None) -> Scope:
        scope = self._names.scopes[node] = Scope(parent)
        for argument in _arguments(arguments):
            self._keep(argument.arg, scope)
        return scope

    def _class(self, node: ast.ClassDef, scope: Scope | None, level: int) -> None:
        # Names in a class are attributes of it, or mangled, or looked up in three places: all of them stay.
        if getattr(node, "type_params", None):
            raise python_source.SourceError("has type parameters")
        self._keep(node.name, scope)
        for each in ast.walk(node):
            self._names.untouched.update(_identifiers(each))
        self._names.scopes[node] = own = Scope(scope, is_class=True)
        self._children(node, own, level)

    def _comprehension(self, node: ast.ListComp, scope: Scope | None, level: int) -> None:
        own = self._names.scopes[node] = Scope(scope, is_comprehension=True)
        for index, generator in enumerate(node.generators):
            self.visit(generator.iter, own if index else scope, level)
            self._target(generator.target, own, self._is_range(generator.iter), level)
            self._list(generator.ifs, own, level)
        for each in results_of(node):
            self.visit(each, own, level)

    def _assign(self, node: ast.Assign, scope: Scope | None, level: int) -> None:
        self.visit(node.value, scope, level)
        for target in node.targets:
            self._target(target, scope, node.value, level)

    def _annotated(self, node: ast.AnnAssign, scope: Scope | None, level: int) -> None:
        if not has_no_effect(node, scope):
            self._children(node, scope, level)
            return
        if node.value is not None:
            self.visit(node.value, scope, level)
        self._target(node.target, scope, node.value or False, level)

    def _augmented(self, node: ast.AugAssign, scope: Scope | None, level: int) -> None:
        self.visit(node.value, scope, level)
        before = ast.Name(node.target.id, ast.Load()) if isinstance(node.target, ast.Name) else node.target
        self._target(node.target, scope, ast.BinOp(before, node.op, node.value), level)

    def _walrus(self, node: ast.NamedExpr, scope: Scope | None, level: int) -> None:
        self.visit(node.value, scope, level)
        while scope is not None and scope.is_comprehension:
            scope = scope.parent
        self._bind(node.target.id, scope, value=False)

    def _loop(self, node: ast.For, scope: Scope | None, level: int) -> None:
        self.visit(node.iter, scope, level)
        self._target(node.target, scope, self._is_range(node.iter), level)
        self._list(node.body, scope, level)
        self._list(node.orelse, scope, level)

    def _is_range(self, node: ast.expr) -> bool:
        # That the text leaves the name `range` alone is checked at the end.
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope | None, _level: int) -> None:
        names = [*(alias.name for alias in node.names), getattr(node, "module", None) or ""]
        parts = {part for name in names for part in name.split(".")}
        if parts & (_REFLECTION | _REFLECTIVE_NAMES | _REFLECTIVE_MODULES):
            raise python_source.SourceError("imports a module that tells how code is written")
        for alias in node.names:
            if alias.name == "*":
                self._names.defined.add("range")  # it may be among the names
            elif "." in alias.name and alias.asname is None:
                self._names.untouched.add(alias.name.partition(".")[0])
            else:
                self._bind(alias.asname or alias.name, scope, value=False)

    def _declared(self, node: ast.Global | ast.Nonlocal, _scope: Scope | None, _level: int) -> None:
        self._names.untouched.update(node.names)
        self._names.defined.update(node.names)

    def _named(self, node: ast.AST, scope: Scope | None, level: int) -> None:
        """Read an exception handler or a pattern, which may bind a name."""
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name is not None:
            self._bind(name, scope, value=False)
        self._children(node, scope, level)

    def _operation(self, node: ast.BinOp | ast.UnaryOp, scope: Scope | None, level: int) -> None:
        self._children(node, scope, level)
        value = _folded(node, self._names.values)
        if value is not None:
            self._names.values[node] = value

    def _refuse(self, node: ast.AST, _scope: Scope | None, _level: int) -> None:
        raise python_source.SourceError(f"has a {type(node).__name__}")


_READERS: dict[type[ast.AST], Callable[..., None]] = {
    ast.AnnAssign: _Reader._annotated,
    ast.Assign: _Reader._assign,
    ast.AsyncFunctionDef: _Reader._function,
    ast.Attribute: _Reader._attribute,
    ast.AugAssign: _Reader._augmented,
    ast.BinOp: _Reader._operation,
    ast.ClassDef: _Reader._class,
    ast.Constant: _Reader._constant,
    ast.DictComp: _Reader._comprehension,
    ast.ExceptHandler: _Reader._named,
    ast.For: _Reader._loop,
    ast.FunctionDef: _Reader._function,
    ast.GeneratorExp: _Reader._comprehension,
    ast.Global: _Reader._declared,
    ast.Import: _Reader._import,
    ast.ImportFrom: _Reader._import,
    ast.Lambda: _Reader._lambda,
    ast.ListComp: _Reader._comprehension,
    ast.MatchAs: _Reader._named,
    ast.MatchMapping: _Reader._named,
    ast.MatchStar: _Reader._named,
    ast.Name: _Reader._name,
    ast.NamedExpr: _Reader._walrus,
    ast.Nonlocal: _Reader._declared,
    ast.SetComp: _Reader._comprehension,
    ast.UnaryOp: _Reader._operation,
}
"""Functions that read the nodes for which reading all their children is not enough."""

_READERS |= {
    getattr(ast, name): _Reader._refuse for name in ("Interpolation", "TemplateStr", "TypeAlias") if hasattr(ast, name)
}


def owner_of(name: str, scope: Scope | None) -> Scope | None:
    """Return the scope that a name belongs to; `None` if it is global."""
    while scope is not None and name not in scope.bound and name not in scope.kept:
        scope = scope.parent
    return scope


@cache
def fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return the fields of a kind of node that have a meaning."""
    return tuple(name for name in kind._fields if name not in ("ctx", "kind", "type_comment"))


def _folded(node: ast.BinOp | ast.UnaryOp, values: Mapping[ast.AST, float]) -> float | None:
    """Return the value of arithmetic on numbers; `None` if it is no such, or Python would not fold it, either."""
    if isinstance(node, ast.UnaryOp):
        operand = values.get(node.operand)
        return -operand if operand is not None and isinstance(node.op, ast.USub) else None
    left, right, operation = values.get(node.left), values.get(node.right), _OPERATIONS.get(type(node.op))
    if left is None or right is None or operation is None:
        return None
    try:
        value = operation(left, right)
    except ArithmeticError:
        return None
    is_plain = abs(value) < _MAX_FOLDED if isinstance(value, int) else math.isfinite(value)
    return value if is_plain else None


def does_nothing(node: Any) -> bool:
    """Return whether a node is a docstring, another lone literal, or `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def has_no_effect(node: ast.AnnAssign, scope: Scope | None) -> bool:
    """Return whether an annotation is that of a local variable: Python never evaluates it."""
    if scope is None or scope.is_class or not node.simple or not isinstance(node.target, ast.Name):
        return False
    return all(isinstance(each, _PLAIN_ANNOTATION) for each in ast.walk(node.annotation) if isinstance(each, ast.expr))


def expressions_around(node: ast.FunctionDef) -> list[ast.expr]:
    """Return the expressions of a function that belong to the scope around it."""
    annotated = [each.annotation for each in _arguments(node.args) if each.annotation is not None]
    returned = [node.returns] if node.returns is not None else []
    return [*node.decorator_list, *defaults_of(node.args), *annotated, *returned]


def defaults_of(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(each for each in arguments.kw_defaults if each is not None)]


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    both = [arguments.vararg, arguments.kwarg]
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*named, *(each for each in both if each is not None)]


def results_of(node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> list[ast.expr]:
    return [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]


def _identifiers(node: ast.AST) -> Iterator[str]:
    for name in node._fields:
        value = getattr(node, name, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield each
