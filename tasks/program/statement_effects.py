"""Tell what statements at the top level of a module do when they run: what they call, read and change."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from overnight.tasks.program import python_source

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)

HARMLESS = frozenset(
    (
        *("abs", "bool", "chr", "complex", "float", "format", "hash", "int", "isinstance", "len"),
        *("ord", "print", "range", "repr", "round", "str"),
    )
)
"""Functions of Python that change nothing, whatever they are given; to print does not count."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def executed(statement: ast.stmt, own: Collection[str]) -> Iterator[ast.AST]:
    """Yield the parts of a statement that run with it: not bodies of functions, but those of lambdas in calls.

    Args:
        statement: Statement at the top level of a module.
        own: Names that the module defines itself; other decorators, as of the standard library, are left out.
    """
    waiting: list[tuple[ast.AST, bool]] = [(statement, False)]
    while waiting:
        node, is_in_call = waiting.pop()
        yield node
        if isinstance(node, _FUNCTIONS) and not (isinstance(node, ast.Lambda) and is_in_call):
            children = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
            children = [one for one in ast.iter_child_nodes(node) if one not in decorators]
        children += _own_decorators(node, own)
        waiting += [(child, is_in_call or isinstance(node, ast.Call)) for child in children]


def has_effect(statement: ast.stmt, own: Collection[str], harmless: Collection[str]) -> bool:
    """Return whether a statement may change more than the names that it binds.

    Args:
        statement: Statement at the top level of a module.
        own: Names that the module defines itself.
        harmless: Names of functions that change nothing.
    """
    if isinstance(statement, IMPORTS):
        return False
    return any(_is_effect(node, own, harmless) for node in executed(statement, own))


def _is_effect(node: ast.AST, own: Collection[str], harmless: Collection[str]) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name not in harmless
        case ast.Attribute() | ast.Subscript():
            return isinstance(node.ctx, ast.Store | ast.Del)
        case ast.ClassDef():
            bases = {root_name(base) for base in node.bases}
            return bool(node.keywords or bases.intersection(own) or _own_decorators(node, own))
    return isinstance(node, ast.Call | ast.AugAssign | ast.Delete) or bool(_own_decorators(node, own))


def _own_decorators(node: ast.AST, own: Collection[str]) -> list[ast.expr]:
    decorators = node.decorator_list if isinstance(node, DEFINITIONS) else []
    return [one for one in decorators if root_name(one) in own]


def root_name(node: ast.AST) -> str:
    """Return the name that an expression begins with, as `T` in `T[0].append(1)`; empty if it begins with none."""
    while True:
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case ast.Name(id=name):
                return name
            case _:
                return ""


def read_names(statement: ast.stmt, own: Collection[str]) -> set[str]:
    """Return the names that a statement reads when it runs; `g` in `g.memo = {}` is not read."""
    nodes = list(executed(statement, own))
    stored = {
        id(node.value)
        for node in nodes
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    }
    names = [node for node in nodes if isinstance(node, ast.Name)]
    return {one.id for one in names if id(one) not in stored and not isinstance(one.ctx, ast.Store)}


def stored_names(statement: ast.stmt) -> set[str]:
    """Return the names whose values a statement stores into, or calls a method of without using what it returns."""
    stored = set[str]()
    for node in python_source.nodes(statement):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                stored.add(root_name(node))
            case ast.AugAssign(target=target) | ast.Expr(value=ast.Call(func=ast.Attribute() as target)):
                stored.add(root_name(target))
    return stored


def given_names(statement: ast.stmt, harmless: Collection[str]) -> set[str]:
    """Return the names whose values a statement gives to a function that is not harmless, and returns nothing used."""
    return {
        given.id
        for node in python_source.nodes(statement)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        if root_name(node.value.func) not in harmless
        for given in node.value.args
        if isinstance(given, ast.Name)
    }


def free_names(tree: ast.AST) -> set[str]:
    """Return the names that code takes from elsewhere, so far as it has no variables of these names of its own."""
    own, declared = set(python_source.bound_names(tree)), set[str]()
    for node in python_source.nodes(tree):
        if isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Global):
            declared.update(node.names)
    return python_source.called_names(tree) - (own - declared)
