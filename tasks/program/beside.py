"""Statements that a completion has beside the evolved functions: what is kept of them, added to them, and refused."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence

from overnight.tasks.program import python_source
from overnight.tasks.program.module_parts import (
    NotKeptError,
    in_order,
    join_statements,
    missing_modules,
    names_bound_by,
    names_given_by,
    needed_statements,
    shortened,
    stored_attributes,
    text_of,
)
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.program.specification import Specification
from overnight.tasks.program.statement_effects import DEFINITIONS, IMPORTS, stored_names


def join_with_modules(
    specification: Specification, bodies: Sequence[str], modules: Sequence[str], base: str = ""
) -> str:
    """Return the body of the functions' bodies, and of what these need beside themselves.

    Imports of the standard library that are missing are added. Imports alone are put into the only function.

    Args:
        specification: The specification; names that its file defines are not defined again.
        bodies: Bodies of its functions.
        modules: Texts around the functions, under the specification's names for these.
        base: Body that has what the modules leave out; empty for none.

    Raises:
        NotKeptError: If a statement cannot be kept as it is meant.
    """
    functions = [
        python_source.parse(one.bare(body)).body[-1] for one, body in zip(specification.functions, bodies, strict=True)
    ]
    kept = _kept(specification, modules, base, functions)
    known = specification.statements_by_name
    missing = missing_modules([*kept, *functions], known)
    texts = [*(f"import {name}" for name in missing), *kept.values()]
    if len(bodies) == 1 and all(isinstance(one, ast.Import | ast.ImportFrom) for one in kept):
        return "\n".join([*texts, *bodies])
    return specification.join(bodies, join_statements(texts))


def _kept(
    specification: Specification, modules: Sequence[str], base: str, functions: Sequence[ast.stmt]
) -> dict[ast.stmt, str]:
    """Return the needed statements of some modules, and of the base where these have none, with their texts."""
    own = {
        one: text_of(lines, one)
        for module, lines in zip(modules, map(split_lines, modules), strict=True)
        for one in _beside_functions(specification, module)
    }
    bound = frozenset[str]().union(*map(names_given_by, own))
    above = specification.beside(base) if base else ""
    lines = split_lines(above)
    repeated = {python_source.code_key(one) for one in own if not names_given_by(one)}
    inherited = {
        one: text_of(lines, one)
        for one in python_source.parse(above).body
        if not names_given_by(one) & bound and python_source.code_key(one) not in repeated
    }
    texts = {one: (inherited | own)[one] for one in in_order(list(inherited), list(own))}
    known = specification.statements_by_name
    kept = needed_statements(
        list(texts),
        functions,
        left_out=[*specification.evolved, specification.run, specification.draw],
        harmless=[name for name, one in known.items() if isinstance(one, ast.FunctionDef)],
        inherited=inherited,
    )
    for one in kept:
        _refuse_another_meaning(one, specification)
    return {one: texts[one] for one in kept if not names_bound_by(one) or names_bound_by(one) - set(known)}


def _beside_functions(specification: Specification, module: str) -> list[ast.stmt]:
    """Return the statements of a module beside the evolved functions."""
    evolved = specification.evolved
    statements = [one for one in python_source.parse(module).body if not specification.has_statement(one)]
    for one in statements:
        if names_bound_by(one) & set(evolved) and not isinstance(one, DEFINITIONS) and not _is_alias(one):
            raise NotKeptError(f"`{shortened(one)}` beside the function is not kept: write it as a part of this")
    statements = [one for one in statements if not names_bound_by(one) & set(evolved)]
    for one in statements:
        if "*" in names_bound_by(one):
            raise NotKeptError(f"`{python_source.unparse(one)}` is not kept: import by name what is used")
    for name in evolved:
        if found := stored_attributes(statements, name):
            raise NotKeptError(f"`{found[0]} = …` beside the function is not kept: use a variable of the module")
    return statements


def _is_alias(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Name)


def _refuse_another_meaning(statement: ast.stmt, specification: Specification) -> None:
    """Refuse a statement that gives a name of the problem's file, or of Python in that file, another meaning."""
    known: Mapping[str, ast.stmt] = specification.statements_by_name
    names = names_bound_by(statement)
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = names - set(known)
    for name in sorted(names & set(known)):
        if not python_source.is_same_code([statement], [known[name]]):
            raise NotKeptError(f"`{name}` is something else in the problem's file: give it another name")
    variables = {name for name, one in known.items() if not isinstance(one, (*DEFINITIONS, *IMPORTS))}
    stored = set[str]() if isinstance(statement, DEFINITIONS) else stored_names(statement)
    for name in sorted(stored & variables):
        raise NotKeptError(f"`{shortened(statement)}` is not kept: `{name}` belongs to the problem's file")
    for name in sorted(names & specification.used_names & set(dir(builtins)) - set(known)):
        raise NotKeptError(f"`{name}` is Python's own in the problem's file: give it another name")
