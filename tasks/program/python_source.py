"""Handle untrusted Python source: parse, rename, dedent and compare it."""

from __future__ import annotations

import ast
import contextlib
import re
import textwrap
import threading
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from overnight.schemas.code_hash import code_hash_of
from overnight.tasks.program.source_lines import escape_strings, indent, split_lines, tokens_of

MAX_SOURCE_CHARS = 1_000_000
"""Limit on a source text, checked before it is parsed: deep or huge source costs the parser minutes and gigabytes."""

_MAX_NESTING = 250
"""Limit on the levels of a tree: walking one recurses up to three times a level, and Python's limit is a thousand."""

_PARSER_LOCK = threading.Lock()
"""Python 3.11 counts the depth of a tree for all threads together; concurrent parsing can raise SystemError."""

_PARSER_ATTEMPTS = 5
"""Attempts at a text: other libraries parse in threads of their own, without the lock."""


class SourceError(ValueError):
    """The text is not valid Python.

    Its message becomes part of stored verdicts, which a replay compares: do not reword the messages below.

    Attributes:
        line: 1-based line of the error; 0 if the parser names none.
    """

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> ast.Module:
    """Parse untrusted text.

    Raises:
        SourceError: For every exception that a hostile text makes the parser raise.
    """
    if len(text) > MAX_SOURCE_CHARS:
        raise SourceError(f"{len(text)} characters, at most {MAX_SOURCE_CHARS} are read")
    try:
        return _parse(text)
    except SyntaxError as error:
        raise SourceError(error.msg or "not Python", error.lineno or 0) from error
    except (ValueError, RecursionError, MemoryError, UnicodeError) as error:
        raise SourceError(f"not Python: {type(error).__name__}") from error


def _parse(text: str) -> ast.Module:
    for _ in range(_PARSER_ATTEMPTS - 1):
        with _PARSER_LOCK, contextlib.suppress(SystemError):
            return ast.parse(text)
    with _PARSER_LOCK:
        return ast.parse(text)


def parse_shallow(text: str) -> ast.Module:
    """Parse untrusted text into a tree that is shallow enough to be traversed, unparsed and compared.

    Raises:
        SourceError: As in `parse`, and for text that is nested too deeply, such as a sum of a thousand terms.
    """
    tree = parse(text)
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_NESTING):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise SourceError(f"nested more than {_MAX_NESTING} levels deep")


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions at the top level, in order."""
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def body_of(text: str, function: ast.FunctionDef, indentation: str = "    ", *, is_first: bool = True) -> str:
    """Return a function's body without its docstring, dedented, with comments; empty if it is only a docstring.

    It computes what the function computes when it is indented again: strings that a change of indentation would change
    are written with escapes, and what cannot be dedented as text is written from the syntax tree. `is_first` says
    whether the body will begin its function, without a docstring or another statement above it.
    """
    body = dedented_body(text, function)
    statements = _statements(function)
    if has_same_code(body, statements, indentation, is_first=is_first):
        return body
    escaped = escape_strings(text)
    place = [each.lineno for each in functions(parse(text))].index(function.lineno)
    body = _shifted(_body_lines(escaped, functions(parse(escaped))[place]))
    same = has_same_code(body, statements, indentation, is_first=is_first)
    return body if same else "\n".join(map(unparse, statements))


def dedented_body(text: str, function: ast.FunctionDef) -> str:
    """Return a function's body as `body_of` does, but dedent its strings, too: the inverse of indenting a body."""
    statements = _statements(function)
    if statements and statements[0].lineno <= _line_above(text, function):
        return "\n".join(map(unparse, statements))
    return dedent("\n".join(_body_lines(text, function))).strip("\n").rstrip()


def _line_above(text: str, function: ast.FunctionDef) -> int:
    """Return the number of the last line of the docstring, or else of the header."""
    if _statements(function) is function.body:
        return header_end(text, function)[0]
    return function.body[0].end_lineno or 0


def _body_lines(text: str, function: ast.FunctionDef) -> list[str]:
    """Return the lines of a body without its docstring; a form feed before code becomes a line end."""
    lines = split_lines(text)[_line_above(text, function) : function.end_lineno]
    return [re.sub(r"^[ \t\f]*\f", lambda skipped: "\n" * skipped[0].count("\f"), line) for line in lines]


def _shifted(lines: Sequence[str]) -> str:
    """Return lines shifted to the left by the indentation of the first statement, comments and continuations less."""
    expanded = [line.expandtabs(4).rstrip() for line in split_lines("\n".join(lines))]
    first = next((line for line in expanded if line and not line.lstrip().startswith("#")), "")
    margin = len(first) - len(first.lstrip())
    return "\n".join(line[min(margin, len(line) - len(line.lstrip())) :] for line in expanded).strip("\n")


def indentable(text: str, indentation: str, *, expands_tabs: bool = False) -> str:
    """Return statements, written so that indenting them does not change their strings.

    They may be dedented in between, which expands tabs: `expands_tabs`.
    """
    statements = parse(text).body
    for written in (text, escape_strings(text)):
        if has_same_code(dedent(written) if expands_tabs else written, statements, indentation):
            return written
    return "\n".join(map(unparse, statements))


def _statements(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body


def has_same_code(
    body: str, statements: Sequence[ast.stmt], indentation: str = "    ", *, is_first: bool = True
) -> bool:
    """Return whether a body has these statements once it is indented; strings that are statements do not count."""
    above = "" if is_first and body else f"{indentation}''\n"
    try:
        tree = parse(f"def f():\n{above}{indent(body, indentation)}\n")
    except SourceError:
        return False
    return len(tree.body) == 1 and is_same_code(functions(tree)[0].body, statements)


def is_same_code(first: Sequence[ast.stmt], second: Sequence[ast.stmt]) -> bool:
    """Return whether statements are the same, but for those that do nothing, such as docstrings."""
    return list(_parts(list(first), keeps_all=False)) == list(_parts(list(second), keeps_all=False))


def code_key(statement: ast.stmt) -> tuple[Any, ...]:
    """Return what is equal for statements with the same code."""
    return tuple(_parts([statement], keeps_all=False))


def _parts(part: Any, *, keeps_all: bool) -> Iterator[Any]:
    """Yield a tree part by part, without places and empty fields, of which later versions of Python have more."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            kept = [each for each in part if keeps_all or not does_nothing(each)]
            yield len(kept)
            waiting += reversed(kept)
        elif isinstance(part, ast.AST):
            used = {name: value for name, value in ast.iter_fields(part) if _has_meaning(name, value)}
            yield (type(part).__name__, *used)
            waiting += reversed(used.values())
        else:
            yield type(part).__name__, part


def _has_meaning(field: str, value: Any) -> bool:
    """Return whether a field has a value, and one that neither its place nor the form of a literal gives."""
    return field not in ("ctx", "kind") and value is not None and value != []


def does_nothing(node: Any) -> bool:
    """Return whether a statement is a docstring, another lone literal such as `...`, or `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def unparse(tree: ast.AST) -> str:
    """Return the source of an untrusted tree.

    Raises:
        SourceError: If it is nested too deeply, or has an integer with more digits than Python writes.
    """
    try:
        return ast.unparse(tree)
    except (RecursionError, ValueError) as error:
        raise SourceError(f"cannot be written out: {error}") from None


def header_end(text: str, function: ast.FunctionDef) -> tuple[int, int]:
    """Return the place of the colon of `def …:`: the 1-based number of its line, and its column in characters."""
    depth = 0
    for token in tokens_of(split_lines(text, keepends=True)[function.lineno - 1 :]):
        if token.string in ("(", "[", "{"):
            depth += 1
        elif token.string in (")", "]", "}"):
            depth -= 1
        elif token.string == ":" and depth == 0:
            return function.lineno + token.start[0] - 1, token.start[1]
    raise SourceError(f"no end of the header of {function.name}", function.lineno)


def dedent(body: str) -> str:
    return textwrap.dedent(body.expandtabs(4))


def rename(text: str, names: dict[str, str]) -> str:
    """Rename identifiers, but not attributes, and nothing in strings and comments.

    Raises:
        SourceError: If the text cannot be tokenised.
    """
    lines = split_lines(text, keepends=True)
    try:
        tokens = list(tokens_of(lines))
    except (tokenize.TokenError, SyntaxError) as error:
        raise SourceError(f"not Python: {error}") from error
    for before, token in reversed(list(zip([None, *tokens], tokens, strict=False))):
        if token.type != tokenize.NAME or token.string not in names or (before is not None and before.string == "."):
            continue
        row, column = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:column] + names[token.string] + line[column + len(token.string) :]
    return "".join(lines)


def nodes(tree: ast.AST) -> list[ast.AST]:
    """Return the nodes of a tree in the order of `ast.walk`, without operators and contexts, in half its time."""
    found = [tree]
    for node in found:
        for field in _inner_fields(type(node)):
            value = getattr(node, field, None)
            if isinstance(value, list):
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


@cache
def _inner_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    return tuple(f for f in kind._fields if f not in ("ctx", "op", "ops"))


def bound_names(tree: ast.AST) -> frozenset[str]:
    """Return every name that the tree defines, assigns or imports; `range`, too, if it imports with `*`."""
    names: set[str] = set()
    for node in nodes(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                imported = [alias.asname or alias.name.partition(".")[0] for alias in node.names]
                names.update("range" if name == "*" else name for name in imported)
    return frozenset(names)


def called_names(tree: ast.AST) -> set[str]:
    """Return every plain name in the tree, called or not."""
    return {node.id for node in nodes(tree) if isinstance(node, ast.Name)}


def code_hash(body: str) -> str:
    """Return a hash that is equal for bodies which differ only in layout or comments, with every version of Python.

    Raises:
        SourceError: If the text is not a body, or has an integer with more digits than Python writes.
    """
    tree = parse("def f():\n" + indent(body, " "))
    try:
        # What `repr` escapes differs between versions of Python.
        return code_hash_of("\n".join(map(ascii, _parts(tree, keeps_all=True))))
    except ValueError as error:
        raise SourceError(f"cannot be written out: {error}") from None


def rename_first(header: str, old: str, new: str) -> str:
    """Rename the function in a header `def old(…):`; the parameters stay."""
    return re.sub(rf"\bdef\s+{re.escape(old)}\b", f"def {new}", header, count=1)


def without_same(text: str, other: str, *, only_definitions: bool = False) -> str:
    """Return the statements of a module that do not stand in another one, word for word; all if one does not parse."""
    try:
        same = {one for one in _sources(other) if not only_definitions or _is_definition(one)}
        kept = [source for source in _sources(text) if source not in same]
    except SourceError:
        return text
    return text if len(kept) == len(_sources(text)) else "\n\n\n".join(kept)


def _is_definition(statement: str) -> bool:
    return isinstance(parse(statement).body[0], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _sources(text: str) -> list[str]:
    """Return the text of each statement of a module, with the comments above it."""
    lines, end, found = split_lines(text), 0, list[str]()
    for statement in parse(text).body:
        found.append("\n".join(lines[end : statement.end_lineno]).strip("\n"))
        end = statement.end_lineno or end
    return found
