"""Read a specification: one Python file with `@funsearch.evolve` on functions and `@funsearch.run` on another one.

One more function may have `@funsearch.draw`, and one `@funsearch.inputs`. The file is parsed with `ast` and never
executed here. It is kept verbatim; only the bodies of evolved functions change.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar

from overnight.schemas.bundle import ProgramBundle
from overnight.schemas.job import Call, Isolation
from overnight.schemas.problem import INPUT_FUNCTION
from overnight.tasks.program import python_source
from overnight.tasks.program.evolved_function import EvolvedFunction
from overnight.tasks.program.meaning import meaning_hash
from overnight.tasks.program.module_parts import first_line, is_docstring_of, names_bound_by, with_needs
from overnight.tasks.program.scopes import may_see_names
from overnight.tasks.program.scored_by_command import call_of_function
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.program.statement_effects import DEFINITIONS, IMPORTS


@dataclass(frozen=True)
class Specification:
    """A valid specification; a `Skeleton`.

    If one function evolves, a body is the body of that function, dedented and without its docstring. If several evolve,
    or something stands beside the function, a body is the text of a module: imports, helpers and variables, then all
    evolved functions in the order of the file, each with its header and without its docstring.

    Attributes:
        run: Name of the function that scores one input.
        run_arity: Minimum and maximum number of positional arguments of the run function; -1 for no maximum.
        draw: Name of the function that draws what a program does with an input; empty if there is none.
        generator: Name of the function that returns an input for a seed; empty if there is none.
    """

    kind: ClassVar[str] = "functions"

    text: str
    functions: tuple[EvolvedFunction, ...]
    run: str
    run_arity: tuple[int, int]
    draw: str = ""
    generator: str = ""

    @property
    def evolved(self) -> tuple[str, ...]:
        return tuple(function.name for function in self.functions)

    @property
    def start_body(self) -> str:
        return self.join([function.start_body for function in self.functions])

    @property
    def language(self) -> str:
        return "python"

    @property
    def evolved_parts(self) -> str:
        """Evolved functions with their parameters, for people."""
        return " and ".join(f"`{function.signature}`" for function in self.functions)

    @property
    def shape(self) -> str:
        return " and ".join(function.signature for function in self.functions)

    @property
    def isolation(self) -> Isolation:
        return Isolation(self.evolved, self.text)

    @property
    def is_stub(self) -> bool:
        return any(function.is_stub for function in self.functions)

    @property
    def start_program(self) -> ProgramBundle:
        return ProgramBundle(((FILE, self.text),))

    def program(self, body: str) -> ProgramBundle:
        return ProgramBundle(((FILE, self.with_body(body)),))

    def input_program(self, seed: int) -> str:
        """Return the start program with one more function, which returns the input for a seed as JSON."""
        return self.text + _INPUT_PROGRAM.format(name=INPUT_FUNCTION, generator=self.generator, seed=seed)

    @property
    def keeps_start_program(self) -> bool:
        """Whether the program with the start body has the code of the file."""
        try:
            rendered = python_source.parse(self.with_body(self.start_body))
        except python_source.SourceError:
            return False
        return python_source.is_same_code(rendered.body, self._tree.body)

    def with_run(self, function: str) -> Specification:
        return replace(self, run=function)

    def call(self, item: Any, where: str) -> Call:
        return call_of_function(item, self.run, self.run_arity, where)

    def join(self, bodies: Sequence[str], beside: str = "") -> str:
        """Return the body that consists of the bodies of all functions, and of statements of the module above them."""
        if len(self.functions) == 1 and not beside:
            return bodies[0]
        return _SEPARATOR.join(
            [*([beside] if beside else []), *(f.bare(body) for f, body in zip(self.functions, bodies, strict=True))]
        )

    def split(self, body: str) -> tuple[str, ...]:
        """Return the bodies of all functions in a body, the inverse of `join`.

        A function that is missing there gets its body from the file.
        """
        functions = self._functions_in(body)
        if functions is None:
            return (body,)
        found = {name: python_source.dedented_body(body, node) for name, node in functions.items()}
        return tuple(found.get(function.name) or function.start_body for function in self.functions)

    def beside(self, body: str) -> str:
        """Return the statements of the module in a body, above the functions; empty if there are none."""
        functions = self._functions_in(body) or {}
        first = min((node.lineno for node in functions.values()), default=1)
        return "\n".join(split_lines(body)[: first - 1]).rstrip("\n")

    def _functions_in(self, body: str) -> dict[str, ast.FunctionDef] | None:
        """Return the evolved functions in a body by name; `None` if the body is that of the only function itself."""
        is_single = len(self.functions) == 1
        if is_single and not re.search(rf"^def {self.evolved[0]}\b", body, re.MULTILINE):
            return None
        statements = python_source.parse(body).body
        if is_single and not (isinstance(statements[-1], ast.FunctionDef) and statements[-1].name == self.evolved[0]):
            return None
        return {
            node.name: node for node in statements if isinstance(node, ast.FunctionDef) and node.name in self.evolved
        }

    def with_body(self, body: str) -> str:
        """Return the whole program: this file with another body."""
        lines = split_lines(self.text, keepends=True)
        for function, function_body in reversed(list(zip(self.functions, self.split(body), strict=True))):
            lines = function.replace_body(lines, function_body)
        if beside := self.beside(body):
            lines.insert(self.functions[0].mark_line - 1, beside + _SEPARATOR)
        return "".join(lines)

    def evolved_lines(self, body: str) -> list[int]:
        """Return the numbers of the lines of a program that a body makes: its functions and what is beside them."""
        text = self.with_body(body)
        first = self.functions[0].mark_line
        beside = self.beside(body)
        lines = list(range(first, first + len(split_lines(beside + _SEPARATOR)))) if beside else []
        for node in python_source.functions(python_source.parse(text)):
            if node.name in self.evolved and node.lineno not in lines:
                lines += range(node.lineno, (node.end_lineno or 0) + 1)
        return lines

    def function_text(self, body: str) -> str:
        """Return the evolved functions with another body: headers, docstrings, bodies."""
        functions = [f.text(own) for f, own in zip(self.functions, self.split(body), strict=True)]
        return _SEPARATOR.join([beside, *functions] if (beside := self.beside(body)) else functions)

    def bare_text(self, body: str) -> str:
        functions = [f.bare(own) for f, own in zip(self.functions, self.split(body), strict=True)]
        return _SEPARATOR.join([beside, *functions] if (beside := self.beside(body)) else functions)

    def standalone_text(self, body: str) -> str:
        """Return the evolved functions with another body, and the imports, constants and helpers that they need.

        It runs by itself, without the functions that score and draw. The constants by which programs are scored stand
        there, too. All are in the order of the file, so that what is defined there at a line is defined here.
        """
        functions = self.function_text(body)
        others = [node for node in self._tree.body if not self._is_marked(node)]
        own = {node.name for node in others if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        told = [node for node in others if self._is_told(node, own)]
        kept = {*told, *with_needs([*told, *python_source.parse(functions).body], others)}
        ordered = [node for node in others if node in kept]
        last = self.functions[-1].mark_line
        above = [self._whole(node) for node in ordered if node.lineno < last]
        below = [self._whole(node) for node in ordered if node.lineno > last]
        parts = ["\n".join(above), functions, "\n".join(below)]
        return _SEPARATOR.join(part for part in parts if part)

    def _whole(self, node: ast.stmt) -> str:
        """Return the text of a statement with its decorators, and with the docstring of a constant below it."""
        last = self._docstrings.get(node.lineno, node).end_lineno
        return "\n".join(split_lines(self.text)[first_line(node) - 1 : last])

    def shared_names(self, standalone: str) -> tuple[list[str], list[str]]:
        """Return the names that the file defines and a text of its functions, too, and those that only the file does.

        They are those of constants, functions and classes.
        """
        known = frozenset[str]().union(*map(names_bound_by, python_source.parse(standalone).body))
        defined = ((name, one) for name, one in self.statements_by_name.items() if name not in self.evolved)
        names = sorted(name for name, one in defined if not isinstance(one, IMPORTS))
        return [name for name in names if name in known], [name for name in names if name not in known]

    def _is_told(self, node: ast.stmt, functions: set[str]) -> bool:
        """Return whether prompts show a statement that matters to programs, and it needs no function of the file."""
        is_docstring = isinstance(node, ast.Expr)
        is_shown = self._is_preface(node) and not is_docstring and not self._is_of_scoring(node)
        return is_shown and node not in self._of_others and not python_source.called_names(node) & functions

    @cached_property
    def _of_others(self) -> frozenset[ast.stmt]:
        """Statements that only what neither evolves, scores nor returns inputs needs, such as a baseline."""
        nodes, names = self._tree.body, (*self.evolved, self.run, self.generator)
        judging = with_needs([one for one in nodes if isinstance(one, ast.FunctionDef) and one.name in names], nodes)
        needed = with_needs([one for one in nodes if isinstance(one, DEFINITIONS)], nodes)
        return frozenset(needed).difference(judging)

    def _is_marked(self, node: ast.stmt) -> bool:
        """Return whether a statement is a function with a mark, or imports the marks."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            return not self._is_preface(node)
        return isinstance(node, ast.FunctionDef) and node.name in (*self.evolved, self.run, self.draw)

    def code_hash(self, body: str) -> str:
        return python_source.code_hash(body)

    def meaning_hash(self, body: str) -> str:
        """Return the hash of what a body means; see `meaning.meaning_hash`."""
        if self._sees_names:
            return self.code_hash(body)
        try:
            return meaning_hash(self.bare_text(body), self._global_names)
        except python_source.SourceError:
            return self.code_hash(body)

    def has_statement(self, statement: ast.stmt) -> bool:
        """Return whether the file has a statement with this code; not of imports and definitions."""
        is_plain = not isinstance(statement, (*DEFINITIONS, *IMPORTS))
        return is_plain and python_source.code_key(statement) in self._code_keys

    @cached_property
    def _code_keys(self) -> frozenset[tuple[Any, ...]]:
        return frozenset(map(python_source.code_key, self._tree.body))

    def defines(self, name: str) -> bool:
        return any(function.name == name for function in python_source.functions(self._tree))

    @property
    def docstring(self) -> str:
        """Docstring of the module, which describes the task; empty if there is none."""
        return ast.get_docstring(self._tree) or ""

    @cached_property
    def preface(self) -> str:
        """Part of the file that prompts show above programs: docstring, imports, constants, classes of arguments."""
        return self._preface(self._tree.body)

    @property
    def preface_of_facts(self) -> str:
        """The same where the task is told already: without the docstring, and imports that the scoring alone needs.

        Constants come with the comments and the docstrings that explain them.
        """
        nodes = self._tree.body[1:] if self.docstring else self._tree.body
        shown = [node for node in nodes if self._is_preface(node) and not self._is_of_scoring(node)]
        return "\n".join(self._explained(node, self._docstrings.get(node.lineno)) for node in shown)

    @property
    def scoring(self) -> str:
        """Functions and classes that score programs, without marks, and without what `preface_of_facts` shows."""
        return self._scoring

    @cached_property
    def _scoring(self) -> str:
        nodes = [
            node for node in self._tree.body if not (isinstance(node, ast.FunctionDef) and node.name in self.evolved)
        ]
        run = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == self.run]
        kept = {*run, *with_needs(run, nodes)}
        parts = [
            node for node in nodes if node in kept and isinstance(node, DEFINITIONS) and not self._is_preface(node)
        ]
        lines = split_lines(self.text)
        return _SEPARATOR.join(
            "\n".join(lines[(node.lineno if node in run else first_line(node)) - 1 : node.end_lineno]) for node in parts
        )

    @cached_property
    def _docstrings(self) -> dict[int, ast.stmt]:
        """Texts that explain constants, by the line of the constant."""
        return {node.lineno: after for node, after in pairwise(self._tree.body) if is_docstring_of(after, node)}

    def _preface(self, nodes: Sequence[ast.stmt]) -> str:
        return "\n".join(self._source(node) for node in nodes if self._is_preface(node))

    def _source(self, node: ast.stmt) -> str:
        if isinstance(node, ast.ClassDef):
            lines = split_lines(self.text)[first_line(node) - 1 : node.end_lineno]
            return "\n".join(["", "", *lines, ""])
        return ast.get_source_segment(self.text, node) or ""

    def _explained(self, node: ast.stmt, docstring: ast.stmt | None) -> str:
        """Return a statement with the comments above it and on its line, and the docstring below it."""
        lines = split_lines(self.text)
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.end_lineno is None:
            return self._source(node)
        first = node.lineno - 1
        while first and lines[first - 1].startswith("#") and not lines[first - 1].startswith("# ///"):
            first -= 1
        if first and lines[first - 1].startswith("# ///"):  # the block of settings
            first = node.lineno - 1
        last = docstring.end_lineno if docstring else None
        return "\n".join(lines[first : last or node.end_lineno])

    def _is_of_scoring(self, node: ast.stmt) -> bool:
        """Return whether a statement imports names, not of the standard library, that no evolved function uses."""
        if not isinstance(node, ast.ImportFrom) or (node.module or "").partition(".")[0] in sys.stdlib_module_names:
            return False
        used = {word for body in self.split(self.start_body) for word in re.findall(r"\w+", body)}
        return not used & {alias.asname or alias.name for alias in node.names}

    @cached_property
    def _sees_names(self) -> bool:
        """Whether the functions that score programs may look at how these are written."""
        return may_see_names(self.text)

    @cached_property
    def _global_names(self) -> frozenset[str]:
        return python_source.bound_names(self._tree)

    @cached_property
    def used_names(self) -> frozenset[str]:
        """The names that the file uses, its own and Python's."""
        return frozenset(python_source.called_names(self._tree))

    @cached_property
    def statements_by_name(self) -> dict[str, ast.stmt]:
        """The names that the file defines, each with the statement that does."""
        return {name: one for one in self._tree.body for name in names_bound_by(one)}

    @cached_property
    def _argument_classes(self) -> frozenset[str]:
        """Names of classes that headers of evolved functions name, and of those that fields of these name."""
        fields = {
            node.name: " ".join(ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign))
            for node in self._tree.body
            if isinstance(node, ast.ClassDef)
        }
        told, words = set[str](), " ".join(function.header for function in self.functions)
        while new := fields.keys() & set(re.findall(r"\w+", words)) - told:
            told |= new
            words = " ".join(fields[name] for name in new)
        return frozenset(told)

    @cached_property
    def _tree(self) -> ast.Module:
        return python_source.parse(self.text)

    def _is_preface(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Import):
            return all(alias.name.partition(".")[0] != "funsearch" for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            return (node.module or "").partition(".")[0] != "funsearch"
        if isinstance(node, ast.ClassDef):
            return node.name in self._argument_classes
        is_docstring = node is self._tree.body[0] and bool(self.docstring)
        return is_docstring or isinstance(node, ast.Assign | ast.AnnAssign)


FILE = "program.py"
"""Path of the only file of a specification's programs, as tracebacks show it."""

_INPUT_PROGRAM = """

def {name}():
    import json
    try:
        return json.dumps({generator}({seed}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{{error}}; an input is made of numbers, text, lists and dicts, as in `inputs`") from error
"""
"""End of a program that returns an input."""

_SEPARATOR = "\n\n\n"
"""Text between two functions."""
