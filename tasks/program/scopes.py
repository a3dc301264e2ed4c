"""Read which names of Python source are local variables, and what is known about their values."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
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

_REFLECTIVE_IMPORTS = (
    frozenset(("dis", "gc", "inspect", "linecache", "numexpr", "symtable", "traceback"))
    | _REFLECTION
    | _REFLECTIVE_NAMES
)
"""Modules with such functions, and what must not be imported from others."""

_WORD = re.compile(r"[^\W\d]\w*")
_PLAIN_ANNOTATION = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.BinOp)
"""Nodes of annotations that are never evaluated and bind nothing."""

_OPERATIONS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
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
    _Reader(names).visit(tree, None)
    return names


class _Reader:
    """Finds the scopes of a tree and what each binds."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._level = 0
        self._given: dict[ast.AST, Binding] = {}
        """Values of targets, which are bound when they are visited."""

    def visit(self, node: ast.AST, scope: Scope | None) -> None:
        if self._level > _MAX_LEVELS:
            raise python_source.SourceError(f"nested more than {_MAX_LEVELS} levels deep")
        _refuse_reflection(node)
        self._define(node, scope)
        self._give_values(node, scope)
        own = self._scope_of(node, scope)
        self._level += 1
        for part, its_scope in parts_of(node, scope, own):
            self._part(part, its_scope)
        self._level -= 1
        if (value := _number(node, self._names.values)) is not None:
            self._names.values[node] = value

    def _part(self, part: Any, scope: Scope | None) -> None:
        if isinstance(part, list):
            for each in part:
                self._part(each, scope)
        elif isinstance(part, ast.AST) and part._fields and not python_source.does_nothing(part):
            self.visit(part, scope)

    def _scope_of(self, node: ast.AST, scope: Scope | None) -> Scope | None:
        """Return the scope of what is in a node: its own if it begins one."""
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                own = Scope(scope)
                for argument in _arguments(node.args):
                    self._keep(argument.arg, own)
            case ast.ClassDef():
                own = Scope(scope, is_class=True)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                own = Scope(scope, is_comprehension=True)
            case _:
                return scope
        self._names.scopes[node] = own
        return own

    def _define(self, node: ast.AST, scope: Scope | None) -> None:
        """Note the names that a node binds, or that stay because of it."""
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                self._bind(name, scope, self._given.get(node, False))
            case ast.NamedExpr(target=target):
                while scope is not None and scope.is_comprehension:
                    scope = scope.parent
                self._bind(target.id, scope, value=False)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._keep(name, scope)
            case ast.ClassDef(name=name):
                # Names in a class are attributes of it, or mangled, or looked up in three places: all of them stay.
                self._keep(name, scope)
                self._names.untouched.update(each for inner in ast.walk(node) for each in _identifiers(inner))
            case ast.alias(name="*"):
                self._names.defined.add("range")  # it may be among the names
            case ast.alias(name=name, asname=None) if "." in name:
                self._names.untouched.add(name.partition(".")[0])
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self._names.untouched.update(names)
                self._names.defined.update(names)
            case ast.Constant(value=str(text)):
                self._names.untouched.update(_WORD.findall(text))

    def _bind(self, name: str, scope: Scope | None, value: Binding) -> None:
        self._names.defined.add(name)
        if scope is not None:
            scope.bound.setdefault(name, []).append(value)

    def _keep(self, name: str, scope: Scope | None) -> None:
        self._names.defined.add(name)
        if scope is not None:
            scope.kept.add(name)

    def _give_values(self, node: ast.AST, scope: Scope | None) -> None:
        """Note what the targets of a node will be bound to."""
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._give(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if has_no_effect(node, scope):
                self._give(target, value)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                self._give(target, ast.BinOp(ast.Name(name, ast.Load()), op, value))
            case ast.For(target=target, iter=iterated):
                self._give(target, _is_range(iterated))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                for generator in node.generators:
                    self._give(generator.target, _is_range(generator.iter))

    def _give(self, target: ast.expr, value: Binding) -> None:
        if isinstance(target, ast.Name):
            self._given[target] = value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            is_starred = any(isinstance(each, ast.Starred) for each in (*target.elts, *value.elts))
            for each, its_value in zip(target.elts, value.elts, strict=True):
                self._give(each, False if is_starred else its_value)


def _refuse_reflection(node: ast.AST) -> None:
    """Refuse code that can see how it is written, and nodes of which the scopes are not known."""
    match node:
        case ast.Name(id=name) if name in _REFLECTIVE_NAMES or name in _REFLECTION:
            reason = f"uses {name}"
        case ast.Attribute(attr=name) if name in _REFLECTION or name in _REFLECTIVE_METHODS:
            reason = f"uses the attribute {name}"
        case ast.Constant(value=str(text)) if not _REFLECTION.isdisjoint(_WORD.findall(text)):
            reason = "names an attribute that tells how code is written"
        case ast.ImportFrom(module=str(name)) | ast.alias(name=name) if not _REFLECTIVE_IMPORTS.isdisjoint(
            name.split(".")
        ):
            reason = "imports a module that tells how code is written"
        case _ if getattr(node, "type_params", None):
            reason = "has type parameters"
        case _ if type(node).__name__ in ("Interpolation", "TemplateStr", "TypeAlias"):
            reason = f"has a {type(node).__name__}"
        case _:
            return
    raise python_source.SourceError(reason)


def _is_range(node: ast.expr) -> bool:
    # That the text leaves the name `range` alone is checked at the end.
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range"


def parts_of(node: ast.AST, scope: Scope | None, own: Scope | None) -> Iterator[tuple[Any, Scope | None]]:
    """Yield the parts of a node that have a meaning, each with the scope that its names belong to.

    Names that a node binds by itself, such as that of an exception, are yielded as nodes.

    Args:
        node: The node.
        scope: The scope around it.
        own: The scope that it begins; the one around it if it begins none.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from ((each, scope) for each in _signature(node))
            yield node.body, own
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for index, generator in enumerate(node.generators):
                yield generator.iter, own if index else scope
                yield [generator.target, generator.is_async, generator.ifs], own
            yield [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], own
        case ast.NamedExpr(target=target, value=value):
            yield from ((each, scope) for each in (value, ast.Name(target.id, ast.Load())))
        case ast.alias(name=name, asname=asname):
            yield name, scope
            yield _binding(None if name == "*" or ("." in name and asname is None) else asname or name), scope
        case ast.AnnAssign(target=target, value=value) if has_no_effect(node, scope):
            yield from ((each, scope) for each in (target, value))
        case _:
            binds = isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping)
            for name in fields_of(type(node)):
                part = getattr(node, name, None)
                yield _binding(part) if binds and name in ("name", "rest") else part, own


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> list[Any]:
    """Return what a function has beside its body."""
    a = node.args
    kinds = (a.posonlyargs, a.args, [a.vararg], a.kwonlyargs, [a.kwarg])
    names = tuple(tuple(each.arg for each in kind if each is not None) for kind in kinds)
    own = [names, [each.annotation for each in _arguments(a)], a.defaults, a.kw_defaults]
    return own if isinstance(node, ast.Lambda) else [node.name, node.decorator_list, node.returns, *own]


def _binding(name: str | None) -> ast.Name | None:
    return None if name is None else ast.Name(name, ast.Store())


def owner_of(name: str, scope: Scope | None) -> Scope | None:
    """Return the scope that a name belongs to; `None` if it is global."""
    while scope is not None and name not in scope.bound and name not in scope.kept:
        scope = scope.parent
    return scope


@cache
def fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return the fields of a kind of node that have a meaning."""
    return tuple(name for name in kind._fields if name not in ("ctx", "kind", "type_comment", "type_params"))


def _number(node: ast.AST, values: Mapping[ast.AST, float]) -> float | None:
    """Return the value of a number, or of arithmetic on numbers that Python folds, too; `None` of anything else."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand) if operand in values:
            return -values[operand]
        case ast.BinOp(left=left, op=op, right=right) if left in values and right in values:
            return _folded(values[left], op, values[right])
    return None


def _folded(left: float, op: ast.operator, right: float) -> float | None:
    try:
        value = _OPERATIONS[type(op)](left, right)
    except (ArithmeticError, KeyError):
        return None
    is_plain = abs(value) < _MAX_FOLDED if isinstance(value, int) else math.isfinite(value)
    return value if is_plain else None


def has_no_effect(node: ast.AnnAssign, scope: Scope | None) -> bool:
    """Return whether an annotation is that of a local variable: Python never evaluates it."""
    if scope is None or scope.is_class or not node.simple or not isinstance(node.target, ast.Name):
        return False
    return all(isinstance(each, _PLAIN_ANNOTATION) for each in ast.walk(node.annotation) if isinstance(each, ast.expr))


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    both = [arguments.vararg, arguments.kwarg]
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [*named, *(each for each in both if each is not None)]


def _identifiers(node: ast.AST) -> Iterator[str]:
    for name in node._fields:
        value = getattr(node, name, None)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield each
