"""Find which statements of a module some of its functions need: imports, helpers, variables, and what changes these."""

from __future__ import annotations

import ast
import builtins
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from overnight.tasks.program import python_source


def names_bound_by(statement: ast.stmt) -> frozenset[str]:
    """Return the names that a statement at the top level of a module binds there; `*` for an import of all names."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return frozenset({statement.name})
        case ast.Import() | ast.ImportFrom():
            names = {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
            return frozenset(names - {"funsearch"})
    return python_source.bound_names(statement)


def needed_statements(
    statements: Sequence[ast.stmt], needed: Collection[str], left_out: Collection[str] = ()
) -> list[ast.stmt]:
    """Return the statements that bind the needed names, or change what these hold, and all that they need, in order.

    Args:
        statements: Statements at the top level of a module.
        needed: Names that are needed.
        left_out: Names of functions; what calls them, such as a test of them, is left out.
    """
    module = _Module([one for one in statements if not _is_main_block(one)])
    barred = {one for one in module.reaching(left_out) if not isinstance(one, _DEFINITIONS)}
    kept, names, waiting = set[ast.stmt](), set(needed), list(needed)
    reaching = set[ast.stmt]()
    while waiting:
        name = waiting.pop()
        new = [one for one in module.binding[name] if one not in kept]
        if any(not isinstance(one, _DEFINITIONS) for one in module.binding[name]):
            reached = module.reaching([name], reaching)
            new += [one for one in reached if one not in barred and _has_effect(one)]
        for one in new:
            kept.add(one)
            waiting += module.loads[one] - names
            names |= module.loads[one]
    return [one for one in statements if one in kept]


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class _Module:
    """Statements by the names that they bind and use."""

    def __init__(self, statements: Sequence[ast.stmt]) -> None:
        self.loads = {one: python_source.called_names(one) for one in statements}
        self.binding: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        self._users: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        for one in statements:
            for name in names_bound_by(one):
                self.binding[name].append(one)
            for name in self.loads[one]:
                self._users[name].append(one)

    def reaching(self, names: Iterable[str], found: set[ast.stmt] | None = None) -> list[ast.stmt]:
        """Return the statements that use a name themselves or by functions; those that are `found` are left out."""
        found = set() if found is None else found
        new, waiting = list[ast.stmt](), list(names)
        while waiting:
            for one in self._users[waiting.pop()]:
                if one in found:
                    continue
                found.add(one)
                new.append(one)
                if isinstance(one, _DEFINITIONS):
                    waiting.append(one.name)
        return new


def _is_main_block(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in python_source.called_names(statement.test)


def _has_effect(statement: ast.stmt) -> bool:
    """Return whether a statement calls something, or stores into what a name holds; to print does not count."""
    if isinstance(statement, (*_DEFINITIONS, ast.Import, ast.ImportFrom)):
        return False
    return any(map(_is_effect, ast.walk(statement)))


def _is_effect(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute | ast.Subscript):
        return isinstance(node.ctx, ast.Store | ast.Del)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return not (isinstance(called, ast.Name) and called.id == "print")
    return False


def stored_attributes(statements: Iterable[ast.stmt], name: str) -> list[str]:
    """Return the attributes that statements set on what a name holds, such as `f.cache`."""
    return [
        f"{name}.{node.attr}"
        for one in statements
        for node in ast.walk(one)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    ]


def missing_modules(trees: Sequence[ast.AST], known: Collection[str]) -> list[str]:
    """Return the modules of the standard library that code uses, as in `math.pi`, and never imports."""
    bound = set(known).union(*map(python_source.bound_names, trees), *map(_arguments, trees), dir(builtins))
    used = {
        node.value.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return sorted(used & sys.stdlib_module_names - bound)


def _arguments(tree: ast.AST) -> Iterator[str]:
    return (node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))


def text_of(lines: Sequence[str], statement: ast.stmt) -> str:
    """Return the text of a statement at the top level of a module, which has these lines, with its decorators."""
    decorators = statement.decorator_list if isinstance(statement, _DEFINITIONS) else []
    first, last = min([statement.lineno, *(one.lineno for one in decorators)]), statement.end_lineno or 0
    behind = lines[last - 1].encode()[statement.end_col_offset :].strip()
    if statement.col_offset or (behind and not behind.startswith(b"#")):
        return python_source.unparse(statement)  # another one is on its line
    return "\n".join(lines[first - 1 : last])


def join_statements(texts: Sequence[str]) -> str:
    """Return the text of a module: two empty lines around functions and classes, none between other statements."""
    joined = ""
    for before, text in zip(["", *texts], texts, strict=False):
        gap = "\n\n\n" if _is_block(before) or _is_block(text) else "\n"
        joined += (gap if before else "") + text
    return joined


def _is_block(text: str) -> bool:
    return text.startswith(("def ", "class ", "async ", "@"))
