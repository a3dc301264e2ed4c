"""Finds evolved functions in the text of a completion, whichever form it has and whatever prose is around them."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from overnight.tasks.program import python_source
from overnight.tasks.program.evolved_function import EvolvedFunction
from overnight.tasks.program.source_lines import escape_strings, has_blank_line, indent, split_lines
from overnight.tasks.program.specification import Specification
from overnight.tasks.sample.codecs import FENCE

_MAX_DROPPED_LINES = 200
"""Most lines that are dropped from the end of an incomplete text until it parses."""


@dataclass(frozen=True)
class FoundFunction:
    """A function of a completion.

    Attributes:
        body: Its body.
        module: The text that it stands in, where something may be beside it.
    """

    body: str
    module: str = ""


def find_body(text: str, specification: Specification, function: EvolvedFunction, version: int) -> FoundFunction | None:
    """Return the body of one evolved function in a completion; `None` if there is none."""
    fenced = [_dedented(match) for match in FENCE.findall(text)]
    is_first = function is specification.functions[0]
    if is_first and not fenced and _continues_header(text):
        bare = _bare_body(text, function)
        return FoundFunction(bare) if bare else function_body([text], specification, function, version)
    blocks = fenced or [text]
    body = function_body(blocks, specification, function, version)
    if body is not None or len(specification.functions) > 1:
        return body
    bare = _first_bare_body(blocks, function)
    return None if bare is None else FoundFunction(bare)


def _dedented(block: str) -> str:
    """Dedent a block; a string with a line of spaces alone, which dedenting would empty, is written with escapes."""
    return textwrap.dedent(escape_strings(block, has_blank_line) if has_blank_line(block) else block)


def _continues_header(text: str) -> bool:
    """Return whether the text starts with an indented statement, as the body of a function does."""
    lines = [line for line in split_lines(text) if line.strip()]
    return bool(lines) and lines[0][0] in " \t" and not lines[0].lstrip().startswith("def ")


def function_body(
    blocks: list[str], specification: Specification, evolved: EvolvedFunction, version: int
) -> FoundFunction | None:
    for block in reversed(blocks):
        for module in _modules(block):
            function = _choose_function(python_source.parse_shallow(module), specification, evolved, version)
            if function is not None:
                return _read(module, function, evolved)
    return None


def _first_bare_body(blocks: list[str], evolved: EvolvedFunction) -> str | None:
    """Return the last bare body of the blocks; blocks that define a function are skipped, as echoes of the parents."""
    answers = (block for block in reversed(blocks) if not re.search(r"^def ", block, re.MULTILINE))
    bodies = (_bare_body(block, evolved) for block in answers)
    return next((body for body in bodies if body is not None), None)


def _modules(block: str) -> Iterator[str]:
    """Yield the block if it parses; else, from each `def` or import on, the longest part that parses."""
    if _parses(block):
        yield block
        return
    starts = [match.start() for match in re.finditer(r"^(?:@|def |import |from )", block, re.MULTILINE)]
    for start in starts[:20]:
        trimmed = _longest_whole_head(block[start:])
        if trimmed:
            yield trimmed
    inner = re.search(r"^[ \t]+def ", block, re.MULTILINE)
    if not starts and inner is not None:
        trimmed = _longest_whole_head(_dedented(block[inner.start() :]))
        if trimmed:
            yield trimmed


def _longest_whole_head(text: str) -> str | None:
    """Return the longest head that parses, without a function in which the rest begins before it has returned."""
    head = _longest_parsable_head(text)
    if head is None:
        return None
    last = python_source.parse(head).body[-1]
    rest = [line for line in split_lines(text)[len(split_lines(head)) :] if line.strip()]
    if not isinstance(last, ast.FunctionDef) or not rest or rest[0][0] not in " \t":
        return head
    if isinstance(last.body[-1], ast.Return | ast.Raise):
        return head
    first = min([last.lineno, *(one.lineno for one in last.decorator_list)])
    return "\n".join(split_lines(head)[: first - 1])


def syntax_error(text: str) -> str:
    """Return why the last code with a function in a completion is not Python; empty if there is no such code."""
    blocks = [_dedented(match) for match in FENCE.findall(text)] or [_from_first_statement(text)]
    for block in reversed(blocks):
        if re.search(r"^def ", block, re.MULTILINE):
            try:
                python_source.parse(block)
            except python_source.SourceError as error:
                return f"SyntaxError, line {error.line}: {error}" if error.line else str(error)
    return ""


def _from_first_statement(text: str) -> str:
    found = re.search(r"^(?:@|def |import |from )", text, re.MULTILINE)
    return text[found.start() :] if found else ""


def _longest_parsable_head(text: str) -> str | None:
    """Return the longest head of the text, in whole lines, that parses and is not empty; `None` if there is none."""
    lines = split_lines(text)
    end = len(lines)
    while end > max(len(lines) - _MAX_DROPPED_LINES, 0):
        head = "\n".join(lines[:end])
        try:
            if python_source.parse(head).body:
                return head
            broken_line = end
        except python_source.SourceError as error:
            broken_line = error.line or end
        # A line that breaks the syntax does so whatever follows it, so no head that contains it parses.
        end = min(end, broken_line) - 1
    return None


def _parses(text: str) -> bool:
    try:
        return bool(python_source.parse(text).body)
    except python_source.SourceError:
        return False


def _choose_function(
    tree: ast.Module, specification: Specification, evolved: EvolvedFunction, version: int
) -> ast.FunctionDef | None:
    """Return the requested version, else the latest later one, else one with the plain name, else another that fits."""
    name = evolved.name
    versions: dict[int, ast.FunctionDef] = {}
    others: list[ast.FunctionDef] = []
    for function in python_source.functions(tree):
        if match := re.fullmatch(rf"{re.escape(name)}_v(\d+)", function.name):
            versions[int(match[1])] = function
        elif function.name == name or _may_be_renamed(function, specification, evolved):
            others.append(function)
    if version in versions:
        return versions[version]
    if versions and max(versions) > version:
        return versions[max(versions)]
    plain = [function for function in others if function.name == name]
    return (plain or others or [None])[-1]


def _may_be_renamed(function: ast.FunctionDef, specification: Specification, evolved: EvolvedFunction) -> bool:
    """Return whether a function with another name may be the evolved one; if several evolve, it would be ambiguous."""
    if len(specification.functions) > 1 or function.name == specification.run:
        return False
    return len(_parameters(function)) == len(evolved.parameters)


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def _read(module: str, function: ast.FunctionDef, evolved: EvolvedFunction) -> FoundFunction | None:
    """Return a function of a module with the module, and aliases for its own parameter names."""
    names = {function.name: evolved.name}
    if marks := [python_source.unparse(one) for one in function.decorator_list if not _is_mark(one)]:
        # It becomes a helper, which the function calls: what evolves has no decorators of its own.
        helper = _free_name(f"_{evolved.name}", module)
        own = indent(python_source.rename(python_source.body_of(module, function), names), "    ")
        header = python_source.rename_first(_header_of(module, function), function.name, helper)
        text = "\n".join([python_source.rename(module, names), "", *(f"@{mark}" for mark in marks), header, own])
        return FoundFunction(f"return {helper}({', '.join(evolved.parameters)})", text)
    pairs = zip(_parameters(function), evolved.parameters, strict=False)
    above = [f"{own_name} = {parameter}" for own_name, parameter in pairs if own_name != parameter]
    is_first = not above and not evolved.keeps_docstring
    body = python_source.body_of(module, function, evolved.indentation, is_first=is_first)
    if not body:
        return None
    return FoundFunction(python_source.rename("\n".join([*above, body]), names), python_source.rename(module, names))


def _is_mark(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0] in ("funsearch.evolve", "evolve")


def _free_name(name: str, text: str) -> str:
    while re.search(rf"\b{re.escape(name)}\b", text):
        name += "_"
    return name


def _header_of(module: str, function: ast.FunctionDef) -> str:
    end, column = python_source.header_end(module, function)
    lines = split_lines(module)[function.lineno - 1 : end]
    return "\n".join([*lines[:-1], lines[-1][: column + 1]])


def _bare_body(block: str, evolved: EvolvedFunction) -> str | None:
    """Return the longest head of a block that parses as the body of a function; `None` if there is none."""
    lines = [line for line in split_lines(block) if line.strip()]
    if not lines:
        return None
    if lines[0][0] in " \t":
        return _body_of_block(block, evolved)
    body = _body_of_block(indent(block, "    "), evolved)
    escaped = escape_strings(block)
    if body is None or escaped == block:
        return body
    # To indent a block changes its strings; with escapes, they are as they were.
    safe = _body_of_block(indent(escaped, "    "), evolved) or body
    (function,) = python_source.functions(python_source.parse(as_function(safe)))
    return body if python_source.has_same_code(body, function.body, evolved.indentation) else safe


def _body_of_block(block: str, evolved: EvolvedFunction) -> str | None:
    """Return the longest head of an indented block that parses as the body of a function; `None` if there is none."""
    trimmed = _longest_parsable_head("def f():\n" + block.strip("\n"))
    if trimmed is None:
        return None
    function = python_source.functions(python_source.parse_shallow(trimmed))[0]
    body = python_source.body_of(trimmed, function, evolved.indentation, is_first=not evolved.keeps_docstring)
    return body if _is_code(function.body) else None


def _is_code(statements: list[ast.stmt]) -> bool:
    """Return whether it is code, not prose that happens to parse, such as `Yes` or a lone string."""
    return any(not isinstance(statement, ast.Expr) for statement in statements)


def does_something(statements: list[ast.stmt]) -> bool:
    """Return whether a body has more than `pass`, imports and constants."""
    return any(
        not isinstance(statement, ast.Import | ast.ImportFrom) and not python_source.does_nothing(statement)
        for statement in statements
    )


def as_function(body: str) -> str:
    return "def f():\n" + indent(body, "    ")
