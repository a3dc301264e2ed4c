"""Statements that a completion has beside the evolved functions: what is kept of them, added to them, and refused."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping, Sequence

from overnight.tasks.program import python_source
from overnight.tasks.program.module_parts import (
    join_statements,
    missing_modules,
    names_bound_by,
    needed_statements,
    stored_attributes,
    text_of,
)
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.program.specification import Specification


class NotKeptError(ValueError):
    """A statement would mean something else in the program; the message says which, and what to do.

    It becomes part of stored verdicts, which a replay compares: do not reword the messages below.
    """


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
    functions = [python_source.parse(one.bare(body)) for one, body in zip(specification.functions, bodies, strict=True)]
    needed = set[str]().union(*map(python_source.called_names, functions))
    kept = _kept(specification, modules, base, needed)
    known = specification.statements_by_name
    missing = missing_modules([*kept, *functions], known)
    texts = [*(f"import {name}" for name in missing), *kept.values()]
    if len(bodies) == 1 and all(isinstance(one, ast.Import | ast.ImportFrom) for one in kept):
        return "\n".join([*texts, *bodies])
    return specification.join(bodies, join_statements(texts))


def _kept(specification: Specification, modules: Sequence[str], base: str, needed: set[str]) -> dict[ast.stmt, str]:
    """Return the needed statements of some modules, and of the base where these have none, with their texts."""
    own = {
        one: text_of(lines, one)
        for module, lines in zip(modules, map(split_lines, modules), strict=True)
        for one in _beside_functions(specification, module)
    }
    bound = frozenset[str]().union(*map(names_bound_by, own))
    above = specification.beside(base) if base else ""
    lines = split_lines(above)
    texts = {one: text_of(lines, one) for one in python_source.parse(above).body if not names_bound_by(one) & bound}
    texts |= own
    known = specification.statements_by_name
    kept = needed_statements(list(texts), needed, left_out=specification.evolved)
    for one in kept:
        _refuse_another_meaning(one, specification)
    return {one: texts[one] for one in kept if not names_bound_by(one) or names_bound_by(one) - set(known)}


def _beside_functions(specification: Specification, module: str) -> list[ast.stmt]:
    """Return the statements of a module beside the evolved functions."""
    evolved = specification.evolved
    statements = [one for one in python_source.parse(module).body if not names_bound_by(one) & set(evolved)]
    for one in statements:
        if "*" in names_bound_by(one):
            raise NotKeptError(f"`{python_source.unparse(one)}` is not kept: import by name what is used")
    for name in evolved:
        if found := stored_attributes(statements, name):
            raise NotKeptError(f"`{found[0]} = …` beside the function is not kept: use a variable of the module")
    return statements


def _refuse_another_meaning(statement: ast.stmt, specification: Specification) -> None:
    """Refuse a statement that gives a name of the problem's file, or of Python in that file, another meaning."""
    known: Mapping[str, ast.stmt] = specification.statements_by_name
    names = names_bound_by(statement)
    if isinstance(statement, ast.Import | ast.ImportFrom):
        names = names - set(known)
    for name in sorted(names & set(known)):
        if not python_source.is_same_code([statement], [known[name]]):
            raise NotKeptError(f"`{name}` is something else in the problem's file: give it another name")
    for name in sorted(names & specification.used_names & set(dir(builtins)) - set(known)):
        raise NotKeptError(f"`{name}` is Python's own in the problem's file: give it another name")
