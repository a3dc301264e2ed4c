"""Python source as text: parsing what may be hostile, renaming, indenting and comparing functions."""

from __future__ import annotations

import ast
import hashlib
import io
import re
import textwrap
import threading
import tokenize
from collections.abc import Callable

MAX_SOURCE_CHARS = 1_000_000
"""Longer text is refused before `ast` sees it: deep or huge source costs the parser minutes and gigabytes."""


_MAX_NESTING = 250
"""Levels of a tree: who walks one calls itself up to three times a level, and Python ends that after a thousand."""

_ONE_AT_A_TIME = threading.Lock()
"""Python 3.11 counts the depth of a tree once for all threads, and two that parse can raise SystemError."""


class SourceError(ValueError):
    """The text is no Python; `line` is 1-based, 0 where the parser names none."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> ast.Module:
    """`ast.parse` for text nobody vouches for.

    Raises:
        SourceError: For everything a hostile text makes the parser raise.
    """
    if len(text) > MAX_SOURCE_CHARS:
        raise SourceError(f"{len(text)} characters, at most {MAX_SOURCE_CHARS} are read")
    try:
        with _ONE_AT_A_TIME:
            return ast.parse(text)
    except SyntaxError as error:
        raise SourceError(error.msg or "not Python", error.lineno or 0) from error
    except (ValueError, RecursionError, MemoryError, UnicodeError) as error:
        raise SourceError(f"not Python: {type(error).__name__}") from error


def parse_shallow(text: str) -> ast.Module:
    """`parse` for what is to be walked, printed and compared.

    Raises:
        SourceError: As there, and for text that is nested too deeply for that, such as a sum of a thousand terms.
    """
    tree = parse(text)
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_NESTING):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise SourceError(f"nested more than {_MAX_NESTING} levels deep")


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions at the top level, in order."""
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]


def body_of(text: str, function: ast.FunctionDef) -> str:
    """The body without its docstring, dedented, comments kept; empty if only a docstring stands there."""
    statements = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    above = header_end(text, function) if statements is function.body else function.body[0].end_lineno or 0
    if statements and statements[0].lineno <= above:
        return "\n".join(map(unparse, statements))
    lines = text.splitlines()[above : function.end_lineno]
    return dedent("\n".join(lines)).strip("\n").rstrip()


def unparse(tree: ast.AST) -> str:
    """`ast.unparse` for trees that nobody vouches for.

    Raises:
        SourceError: If it is nested too deeply, or has a whole number of more digits than Python writes.
    """
    return _written(ast.unparse, tree)


def _written(write: Callable[[ast.AST], str], tree: ast.AST) -> str:
    try:
        return write(tree)
    except (RecursionError, ValueError) as error:
        raise SourceError(f"cannot be written out: {error}") from None


def header_end(text: str, function: ast.FunctionDef) -> int:
    """1-based number of the line on which the colon of `def …:` stands."""
    depth = 0
    lines = iter(text.splitlines(keepends=True)[function.lineno - 1 :])
    for token in tokenize.generate_tokens(lambda: next(lines, "")):
        if token.string in ("(", "[", "{"):
            depth += 1
        elif token.string in (")", "]", "}"):
            depth -= 1
        elif token.string == ":" and depth == 0:
            return function.lineno + token.start[0] - 1
    raise SourceError(f"no end of the header of {function.name}", function.lineno)


def dedent(body: str) -> str:
    """`textwrap.dedent` that takes the first line's indentation where comments stand further left."""
    return textwrap.dedent(body.expandtabs(4))


def rename(text: str, names: dict[str, str]) -> str:
    """Renames identifiers, leaving attributes, strings and comments as they are.

    Raises:
        SourceError: If the text cannot be split into tokens.
    """
    lines = text.splitlines(keepends=True)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError) as error:
        raise SourceError(f"not Python: {error}") from error
    for before, token in reversed(list(zip([None, *tokens], tokens, strict=False))):
        if token.type != tokenize.NAME or token.string not in names or (before is not None and before.string == "."):
            continue
        row, column = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:column] + names[token.string] + line[column + len(token.string) :]
    return "".join(lines)


def called_names(tree: ast.AST) -> set[str]:
    """Every plain name that is read in the tree, called or not."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def code_hash(body: str) -> str:
    """16 hex digits that agree for bodies which differ only in layout, comments or docstrings.

    Raises:
        SourceError: If it is no body, or cannot be written out.
    """
    tree = parse("def f():\n" + textwrap.indent(body, " "))
    return hashlib.sha256(_written(ast.dump, tree).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def rename_first(header: str, old: str, new: str) -> str:
    """`def old(…):` with another name; the parameters stay."""
    return re.sub(rf"\bdef\s+{re.escape(old)}\b", f"def {new}", header, count=1)
