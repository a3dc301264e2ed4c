"""A function that evolves, as its specification has it: its header and docstring stay, its body changes."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

from schemas import source


@dataclass(frozen=True)
class EvolvedFunction:
    """One function of a specification that evolves.

    Attributes:
        name: As the specification calls it.
        parameters: Names of its parameters, in order.
        header: `def …:`, verbatim and without decorators.
        docstring: Cleaned; empty if there is none.
        start_body: Its body as the file has it, without docstring, dedented.
        first: 1-based number of the line on which the `def` stands.
        last: Of the last line of its body.
        head: Of the last line that stays: of the header, or of the docstring.
        indentation: Of its body in the file.
        is_block: Whether the body stands below the header, not behind it on the same line.
    """

    name: str
    parameters: tuple[str, ...]
    header: str
    docstring: str
    start_body: str
    first: int
    last: int
    head: int
    indentation: str
    is_block: bool

    def text(self, body: str) -> str:
        """The function with another body: header, docstring, body."""
        doc = self.docstring
        quoted = f'"""{doc}{chr(10) if chr(10) in doc else ""}"""'
        parts = [textwrap.indent(quoted, self.indentation)] if doc else []
        return "\n".join([self.header, *parts, textwrap.indent(body, self.indentation)])

    def bare(self, body: str) -> str:
        """The function with another body, without its docstring."""
        return f"{self.header}\n{textwrap.indent(body, '    ')}"

    def put_into(self, lines: list[str], body: str) -> list[str]:
        """The lines of its file, line ends kept, with another body in place of its own."""
        block = textwrap.indent(body, self.indentation) + "\n"
        if self.is_block:
            return [*lines[: self.head], block, *lines[self.last :]]
        header = lines[self.first - 1].rstrip("\n")
        header = header[: header.index(":", header.rindex(")")) + 1] + "\n"
        return [*lines[: self.first - 1], header, block, *lines[self.last :]]


def read_evolved_functions(text: str, function: ast.FunctionDef) -> EvolvedFunction:
    """Reads a function of a file.

    Args:
        text: The file.
        function: The function, of the file's tree.
    """
    end = source.header_end(text, function)
    is_block = function.body[0].lineno > end
    documented = ast.get_docstring(function, clean=False) is not None
    header = "\n".join(text.splitlines()[function.lineno - 1 : end])
    return EvolvedFunction(
        name=function.name,
        parameters=tuple(argument.arg for argument in [*function.args.posonlyargs, *function.args.args]),
        header=header if header.rstrip().endswith(":") else header[: header.rindex(":") + 1],
        docstring=ast.get_docstring(function) or "",
        start_body=source.body_of(text, function) or "pass",
        first=function.lineno,
        last=function.end_lineno or 0,
        head=(function.body[0].end_lineno or 0) if documented else end,
        indentation=" " * max(function.body[0].col_offset - function.col_offset, 2) if is_block else "    ",
        is_block=is_block,
    )
