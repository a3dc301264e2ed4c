"""Read an evolved function of a specification: its header and docstring are fixed, its body changes."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from overnight.tasks.program import python_source
from overnight.tasks.program.source_lines import indent, split_lines


@dataclass(frozen=True)
class EvolvedFunction:
    """An evolved function of a specification.

    Attributes:
        header: Its `def …:`, verbatim and without decorators.
        docstring: Its docstring, cleaned; empty if there is none.
        start_body: Its body in the file, dedented and without docstring.
        mark_line: 1-based number of the line with its first decorator, or with the comment that marks it.
        first_line: Number of the line with the `def`.
        last_line: Number of the last line of its body.
        last_fixed_line: Number of the last line of its header, or of its docstring.
        indentation: Indentation of its body in the file.
        is_block: Whether the body begins below the header, not on the same line.
    """

    name: str
    parameters: tuple[str, ...]
    header: str
    docstring: str
    start_body: str
    mark_line: int
    first_line: int
    last_line: int
    last_fixed_line: int
    indentation: str
    is_block: bool

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.parameters)})"

    @property
    def is_stub(self) -> bool:
        """Whether its body in the file is still to be written: `...`, `pass` or `raise NotImplementedError`."""
        return all(_is_to_be_written(statement) for statement in python_source.parse(self.start_body).body)

    @property
    def keeps_docstring(self) -> bool:
        """Whether a docstring precedes the bodies in the file."""
        return self.is_block and self.last_fixed_line > self.first_line + self.header.count("\n")

    def text(self, body: str) -> str:
        """Return the function with another body: header, docstring, body."""
        doc = self.docstring
        line_end = "\n" if "\n" in doc else ""
        parts = [indent(f'"""{doc}{line_end}"""', self.indentation)] if doc else []
        return "\n".join([self.header, *parts, indent(body, self.indentation)])

    def bare(self, body: str) -> str:
        """Return the function with another body, without its docstring."""
        return f"{self.header}\n{indent(body, '    ')}"

    def replace_body(self, lines: list[str], body: str) -> list[str]:
        """Return the lines of its file, with their line ends, with another body for this function."""
        block = indent(body, self.indentation) + "\n"
        if self.is_block:
            return [*lines[: self.last_fixed_line], block, *lines[self.last_line :]]
        return [*lines[: self.first_line - 1], self.header + "\n", block, *lines[self.last_line :]]


def _is_to_be_written(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        error = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return ast.unparse(error) == "NotImplementedError"
    return python_source.does_nothing(statement)


def read_evolved_function(text: str, function: ast.FunctionDef) -> EvolvedFunction:
    end, _ = python_source.header_end(text, function)
    is_block = function.body[0].lineno > end
    docstring_end = _docstring_end(function)
    indentation = _indentation(text, function, is_verbatim=docstring_end > 0) if is_block else "    "
    start_body = python_source.body_of(text, function, indentation, is_first=not docstring_end)
    decorators = [decorator.lineno for decorator in function.decorator_list]
    return EvolvedFunction(
        name=function.name,
        parameters=tuple(argument.arg for argument in [*function.args.posonlyargs, *function.args.args]),
        header=_header(text, function, is_block=is_block),
        docstring=ast.get_docstring(function) or "",
        start_body=start_body or "pass",
        mark_line=min([function.lineno - (not decorators), *decorators]),
        first_line=function.lineno,
        last_line=function.end_lineno or 0,
        last_fixed_line=docstring_end or end,
        indentation=indentation,
        is_block=is_block,
    )


def _header(text: str, function: ast.FunctionDef, *, is_block: bool) -> str:
    """Return the header up to its colon, or with the comment behind it if that ends with a colon, too."""
    end, column = python_source.header_end(text, function)
    lines = split_lines(text)[function.lineno - 1 : end]
    if is_block and lines[-1].rstrip().endswith(":"):
        return "\n".join(lines)
    return "\n".join([*lines[:-1], lines[-1][: column + 1]])


def _docstring_end(function: ast.FunctionDef) -> int:
    """Return the number of the docstring's last line; 0 if there is none, or another statement is on that line."""
    if ast.get_docstring(function, clean=False) is None:
        return 0
    end = function.body[0].end_lineno or 0
    return end if len(function.body) == 1 or function.body[1].lineno > end else 0


def _indentation(text: str, function: ast.FunctionDef, *, is_verbatim: bool) -> str:
    """Return what is before the first statement on its line: verbatim, or a space for each tab and two at least."""
    first = function.body[0]
    before = split_lines(text)[first.lineno - 1][: first.col_offset]
    return before if is_verbatim else " " * max(len(before), 2)
