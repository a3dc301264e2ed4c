"""A specification: one Python file with `@funsearch.evolve` on one function and `@funsearch.run` on another.

It is read with `ast` and never executed here. The file is kept verbatim; only the body of the evolved function changes.
"""

from __future__ import annotations

import ast
import hashlib
import re
import textwrap
from dataclasses import dataclass
from functools import cached_property

from schemas import source
from schemas.errors import SpecificationError


@dataclass(frozen=True)
class Specification:
    """A specification that was read and found right.

    Attributes:
        text: The file, verbatim.
        evolved: Name of the evolved function.
        run: Name of the function that scores one input.
        parameters: Names of the evolved function's parameters, in order.
        run_arity: Fewest and most positional arguments of the run function; -1 where there is no most.
        start_body: Body of the evolved function as the file has it, without docstring, dedented.
    """

    text: str
    evolved: str
    run: str
    parameters: tuple[str, ...]
    run_arity: tuple[int, int]
    start_body: str

    @property
    def hash(self) -> str:
        """SHA-256 of the file, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def with_body(self, body: str) -> str:
        """The whole program: this file with `body` (dedented, no docstring) as that of the evolved function."""
        function = self._function
        lines = self.text.splitlines(keepends=True)
        statements = function.body
        documented = ast.get_docstring(function, clean=False) is not None
        head = statements[0].end_lineno or 0 if documented else source.header_end(self.text, function)
        block = textwrap.indent(body, self._indentation) + "\n"
        if statements[0].lineno <= source.header_end(self.text, function):
            header = self.text.splitlines()[function.lineno - 1]
            header = header[: header.index(":", header.rindex(")")) + 1] + "\n"
            return "".join(lines[: function.lineno - 1]) + header + block + "".join(lines[function.end_lineno :])
        return "".join(lines[:head]) + block + "".join(lines[function.end_lineno :])

    def function_text(self, body: str) -> str:
        """The evolved function alone with another body: header, docstring, body."""
        doc = self.function_docstring
        quoted = f'"""{doc}{chr(10) if chr(10) in doc else ""}"""'
        parts = [textwrap.indent(quoted, self._indentation)] if doc else []
        return "\n".join([self.header, *parts, textwrap.indent(body, self._indentation)])

    def bare_text(self, body: str) -> str:
        """The evolved function alone with another body, without its docstring."""
        return f"{self.header}\n{textwrap.indent(body, '    ')}"

    def code_hash(self, body: str) -> str:
        """See `source.code_hash`."""
        return source.code_hash(body)

    @cached_property
    def docstring(self) -> str:
        """The module's docstring: what is wanted, in words; empty if there is none."""
        return ast.get_docstring(self._tree) or ""

    @cached_property
    def preface(self) -> str:
        """What stands above the versions in a prompt: docstring, imports and constants, but no function."""
        kept = [node for node in self._tree.body if self._is_preface(node)]
        return "\n".join(ast.get_source_segment(self.text, node) or "" for node in kept)

    @cached_property
    def header(self) -> str:
        """`def …:` of the evolved function, verbatim and without decorators."""
        lines = self.text.splitlines()
        end = source.header_end(self.text, self._function)
        header = "\n".join(lines[self._function.lineno - 1 : end])
        return header if header.rstrip().endswith(":") else header[: header.rindex(":") + 1]

    @cached_property
    def function_docstring(self) -> str:
        """The evolved function's docstring, cleaned; empty if there is none."""
        return ast.get_docstring(self._function) or ""

    @cached_property
    def _tree(self) -> ast.Module:
        return source.parse(self.text)

    @cached_property
    def _function(self) -> ast.FunctionDef:
        return next(node for node in source.functions(self._tree) if node.name == self.evolved)

    @cached_property
    def _indentation(self) -> str:
        return " " * max(self._function.body[0].col_offset - self._function.col_offset, 2) if self._is_block else "    "

    @property
    def _is_block(self) -> bool:
        return self._function.body[0].lineno > source.header_end(self.text, self._function)

    def _is_preface(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Import):
            return all(alias.name != "funsearch" for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return node.module != "funsearch"
        is_docstring = node is self._tree.body[0] and bool(self.docstring)
        return is_docstring or isinstance(node, ast.Assign | ast.AnnAssign)


def read_specification(text: str, name: str) -> Specification:
    """Reads a specification.

    Args:
        text: The file's text.
        name: What to call it in errors.

    Raises:
        SpecificationError: If it is no Python, or the two decorators are not there exactly once each.
    """
    try:
        tree = source.parse(text)
    except source.SourceError as error:
        raise SpecificationError(
            f"{name}:{error.line}: {error}", remedy="Mend the file; `python -m py_compile` shows the place."
        ) from error
    evolved = _marked(tree, text, "evolve", name)
    run = _marked(tree, text, "run", name)
    if evolved is run:
        raise SpecificationError(
            f"{name}:{run.lineno}: `{run.name}` is marked both @funsearch.evolve and @funsearch.run",
            remedy="Mark the function to improve with the first and the one that scores it with the second.",
        )
    return Specification(
        text=text if text.endswith("\n") else text + "\n",
        evolved=evolved.name,
        run=run.name,
        parameters=tuple(argument.arg for argument in [*evolved.args.posonlyargs, *evolved.args.args]),
        run_arity=_arity(run),
        start_body=source.body_of(text, evolved) or "pass",
    )


def _marked(tree: ast.Module, text: str, mark: str, name: str) -> ast.FunctionDef:
    found = [function for function in source.functions(tree) if _has_mark(function, mark)]
    found = found or [function for function in source.functions(tree) if _has_comment(function, text, mark)]
    if len(found) == 1:
        return found[0]
    purpose = {"evolve": "the function to improve", "run": "the function that scores one input"}[mark]
    if not found:
        nested = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _has_mark(node, mark)]
        where = f":{nested[0].lineno}" if nested else ""
        how = "stands inside another block" if nested else "is missing"
        raise SpecificationError(
            f"{name}{where}: @funsearch.{mark} {how}; exactly one top-level function needs it",
            remedy=f"Write `@funsearch.{mark}` above {purpose}.",
        )
    lines = " and ".join(str(function.lineno) for function in found)
    raise SpecificationError(
        f"{name}:{found[1].lineno}: @funsearch.{mark} stands on {len(found)} functions (lines {lines}), expected one",
        remedy=f"Keep it on {purpose} only.",
    )


def _has_mark(function: ast.FunctionDef, mark: str) -> bool:
    return any(_dotted(decorator) in (f"funsearch.{mark}", mark) for decorator in function.decorator_list)


def _has_comment(function: ast.FunctionDef, text: str, mark: str) -> bool:
    """Whether the line above is `# @funsearch.…`, as in the notebooks that DeepMind published."""
    above = text.splitlines()[function.lineno - 2] if function.lineno > 1 else ""
    return re.fullmatch(rf"#\s*@funsearch\.{mark}(\(\))?\s*", above) is not None


def _dotted(node: ast.expr) -> str:
    """`funsearch.run` for `@funsearch.run` and `@funsearch.run()` alike."""
    target = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(target)


def _arity(function: ast.FunctionDef) -> tuple[int, int]:
    positional = len(function.args.posonlyargs) + len(function.args.args)
    return positional - len(function.args.defaults), -1 if function.args.vararg else positional
