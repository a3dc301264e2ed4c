"""Smaller forms of a Python text: without some statements, or with a part of a statement or expression in its place.

A form differs from the text where something was left out and nowhere else: comments and layout of the rest stay.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from overnight.tasks.program import python_source
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.tune.expressions import dump_with, expressions_of, parts_of, text_of
from overnight.tasks.tune.literals import Span, line_offsets
from overnight.tasks.tune.unbound_names import unbound_names

Size = tuple[int, int]
"""Number of nodes of the syntax tree, and of characters of its numbers."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may be left out.

    Attributes:
        block: The statements that it stands among.
        depth: Number of statements that it is within.
    """

    node: ast.stmt
    block: Sequence[ast.stmt]
    depth: int


class PythonText:
    """A Python text, of which only the spans may change; raises a SourceError if it is not Python."""

    def __init__(self, text: str, spans: Collection[Span]) -> None:
        if "\r" in text or "\f" in text:
            raise python_source.SourceError("the parser counts its lines at places of its own")
        self.text = text
        self._spans = spans
        self._tree = python_source.parse_shallow(text)
        self._lines = line_offsets(text)

    @cached_property
    def size(self) -> Size:
        """Size of the syntax tree, by which forms are smaller."""
        nodes = [node for node in ast.walk(self._tree) if not isinstance(node, ast.expr_context | ast.operator)]
        numbers = [node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) in (int, float)]
        return len(nodes), sum(len(repr(number)) for number in numbers)

    @cached_property
    def statements(self) -> list[Statement]:
        """The statements that may be left out, each before those within it."""
        return [one for one in _statements(self._tree, 0) if self._is_free(one.node) and not _is_text(one.node)]

    @cached_property
    def unbound(self) -> frozenset[str]:
        """Names that may be read before they are bound."""
        return unbound_names(self._tree)

    def without(self, nodes: Collection[ast.stmt]) -> str:
        """Return the text without some statements, none of which is within another; `pass` stands for whole blocks."""
        changes = list[tuple[int, int, str]]()
        for block in {id(one.block): one.block for one in self.statements if one.node in nodes}.values():
            left_out = [node for node in block if node in nodes]
            texts = [""] * len(left_out)
            if len(left_out) == len(block) and not self._is_elif(block[0]):
                texts[0] = "pass"
            changes += [self._removal(node, text) for node, text in zip(left_out, texts, strict=True)]
        return self._changed(changes)

    def steps(self) -> Iterator[Callable[[], Iterator[str]]]:
        """Yield what makes the forms of the text that are smaller by one step: a statement's before those within it."""
        for one in self.statements:
            yield lambda one=one: iter([self.without([one.node])])
            for form in self._arms(one.node):
                yield lambda form=form: (text for text in [form()] if text is not None)
            for place in expressions_of(one.node):
                yield lambda place=place: self._replaced(*place)

    # Statements

    def _is_free(self, node: ast.stmt) -> bool:
        start, end = self._start(node), self._end(node)
        return any(first <= start and end <= last for first, last in self._spans)

    def _arms(self, node: ast.stmt) -> Iterator[Callable[[], str | None]]:
        """Yield what makes the text in which a part of a compound statement takes its place, or its end is left out."""
        match node:
            case ast.If(body=body, orelse=orelse):
                yield from (lambda block=block: self._with_arm(node, block) for block in (body, orelse) if block)
            case ast.For(body=body) | ast.AsyncFor(body=body) | ast.While(body=body):
                jumps = any(isinstance(one, ast.Break | ast.Continue) for part in body for one in ast.walk(part))
                bound = set() if isinstance(node, ast.While) else python_source.bound_names(node.target)
                if not jumps and not bound & {name for part in body for name in python_source.called_names(part)}:
                    yield lambda: self._with_arm(node, body)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                if all(item.optional_vars is None for item in items):
                    yield lambda: self._with_arm(node, body)
            case ast.Try(body=body, finalbody=final):
                yield from (lambda block=block: self._with_arm(node, block) for block in (body, final) if block)
            case _:
                return
        if orelse := getattr(node, "orelse", None):
            yield lambda: self._without_end(node, orelse)
        if (final := getattr(node, "finalbody", None)) and getattr(node, "handlers", None):
            yield lambda: self._without_end(node, final)

    def _with_arm(self, node: ast.stmt, block: Sequence[ast.stmt]) -> str | None:
        """Return the text with a block in place of the statement that has it; `None` if lines do not allow it."""
        start = self._start(node)
        if self._is_elif(block[0]):
            begin = self._start(block[0]) + (0 if self._is_elif(node) else len("el"))
            return self.text[:start] + self.text[begin:]
        if not self._has_own_lines(node) or not self._has_own_lines(block[0]) or _has_long_text(block):
            return None
        first = self._first_line(block[0])
        after = self._tail(node)
        last = after if self._end(block[-1]) == self._end(node) else self._end(block[-1])
        lines = split_lines(self.text[first:last], keepends=True)
        inner, outer = self._indentation(block[0]), self._indentation(node)
        if self._is_elif(node):
            return "".join([self.text[:start], "else:\n", *lines, self.text[after:]])
        moved = [outer + line[len(inner) :] if line.startswith(inner) else line for line in lines]
        return self.text[: start - len(outer)] + "".join(moved) + self.text[after:]

    def _without_end(self, node: ast.stmt, block: Sequence[ast.stmt]) -> str | None:
        """Return the text without the last block of a statement and the line that begins it."""
        before = [one for one in ast.walk(node) if isinstance(one, ast.stmt) and one is not node]
        last = max((self._end(one) for one in before if self._end(one) < self._start(block[0])), default=None)
        return (
            None
            if last is None or block[-1].end_lineno != node.end_lineno
            else (self.text[:last] + self.text[self._tail(node) :])
        )

    def _removal(self, node: ast.stmt, text: str) -> tuple[int, int, str]:
        """Return begin and end of a statement, its comment above and its lines, and the text in its place."""
        if isinstance(node, ast.Pass) and not text and (span := self._span_beside(node)):
            return *span, ""
        if not self._has_own_lines(node) or (self._is_elif(node) and text):
            return self._start(node), self._end(node), text or "pass"
        if text:
            return self._start(node), self._end(node), text
        start, end = self._first_line(node), self._line_end(self._tail(node))
        if end == len(self.text) and not self.text.endswith("\n") and start:
            start -= 1
        return start, end, ""

    def _span_beside(self, node: ast.stmt) -> tuple[int, int] | None:
        """Return begin and end of a statement with the semicolon after it or before it, if there is one."""
        start, end = self._start(node), self._end(node)
        if after := re.compile(r"[ \t]*;[ \t]*(?=[^\s#])").match(self.text, end):
            return start, after.end()
        line = self.text.rfind("\n", 0, start) + 1
        before = re.search(r"[ \t]*;[ \t]*$", self.text[line:start])
        return (line + before.start(), end) if before else None

    def _first_line(self, node: ast.stmt) -> int:
        """Return the begin of a statement's first line, or of the comment of the same indentation above it."""
        start = self._start(node) - len(self._indentation(node))
        comment = re.compile(rf"{self._indentation(node)}#.*\n")
        while start:
            above = self.text.rfind("\n", 0, start - 1) + 1
            if not comment.fullmatch(self.text[above:start]) or not self._is_in_span(above, start):
                break
            start = above
        return start

    def _tail(self, node: ast.stmt) -> int:
        """Return the end of a statement, or of the last comment below it that is indented deeper."""
        end, before = self._end(node), self._indentation(node)
        margin = before[: len(before) - len(before.lstrip())]
        comment = re.compile(rf"\n{margin}[ \t]+#[^\n]*")
        while (found := comment.match(self.text, self._line_end(end) - 1)) and self._is_in_span(*found.span()):
            end = found.end()
        return end

    def _is_in_span(self, start: int, end: int) -> bool:
        return any(first <= start and end <= last for first, last in self._spans)

    def _has_own_lines(self, node: ast.stmt) -> bool:
        """Return whether nothing but comments stands beside a statement on its lines."""
        start, end = self._start(node), self._end(node)
        before = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        after = self.text[end : self._line_end(end)].strip()
        return not before.strip() and (not after or after.startswith("#"))

    def _is_elif(self, node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and self.text.startswith("elif", self._start(node))

    def _indentation(self, node: ast.stmt) -> str:
        start = self._start(node)
        return self.text[self.text.rfind("\n", 0, start) + 1 : start]

    def _line_end(self, place: int) -> int:
        found = self.text.find("\n", place)
        return len(self.text) if found < 0 else found + 1

    # Expressions

    def _replaced(self, node: ast.expr, parent: ast.AST, field: tuple[str, int | None]) -> Iterator[str]:
        """Yield the text with each of the parts of an expression in its place."""
        for part in parts_of(node):
            expected = dump_with(self._tree, parent, field, part)
            if (text := self._written(node, part, expected)) is not None:
                yield text

    def _written(self, node: ast.expr, part: ast.expr, expected: str) -> str | None:
        """Return the text with an expression in place of another, with parentheses only where they are needed.

        `None` if that cannot be written, or would be a longer line: what was on several lines is not written as one.
        """
        start, end = self._start(node), self._end(node)
        is_new = not hasattr(part, "lineno")
        written = text_of(part) if is_new else self.text[self._start(part) : self._end(part)]
        if is_new and len(written) > max(map(len, split_lines(self.text[start:end]))):
            return None
        is_enclosed = self.text[start - 1 : start] == "(" and self.text[end : end + 1] == ")"
        forms = [(start - 1, end + 1, written)] if is_enclosed else []
        for first, last, form in (*forms, (start, end, written), (start, end, f"({written})")):
            text = self.text[:first] + form + self.text[last:]
            try:
                if ast.dump(python_source.parse_shallow(text), annotate_fields=False) == expected:
                    return text
            except python_source.SourceError:
                continue
        return None

    # Places

    def _place(self, line: int, column: int) -> int:
        offset, content = self._lines[line - 1]
        return offset + len(content[:column].decode("utf-8", "surrogatepass"))

    def _start(self, node: ast.stmt | ast.expr) -> int:
        decorators = getattr(node, "decorator_list", None)
        if decorators:
            place = self._place(decorators[0].lineno, decorators[0].col_offset)
            return self.text.rfind("@", 0, place)
        return self._place(node.lineno, node.col_offset)

    def _end(self, node: ast.stmt | ast.expr) -> int:
        return self._place(node.end_lineno or node.lineno, node.end_col_offset or 0)

    def _changed(self, changes: Collection[tuple[int, int, str]]) -> str:
        parts, end = list[str](), len(self.text)
        for first, last, text in sorted(changes, reverse=True):
            parts += [self.text[last:end], text]
            end = first
        changed = "".join([self.text[:end], *reversed(parts)])
        return changed if self.text.endswith("\n") else changed.rstrip("\n")


def _statements(node: ast.AST, depth: int) -> Iterator[Statement]:
    for _, value in ast.iter_fields(node):
        for one in value if isinstance(value, list) else ():
            if isinstance(one, ast.stmt):
                yield Statement(one, value, depth)
                yield from _statements(one, depth + 1)
            elif isinstance(one, ast.excepthandler | ast.match_case):
                yield from _statements(one, depth)


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a docstring or the like, which changes nothing and may explain the rest."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _has_long_text(block: Sequence[ast.stmt]) -> bool:
    """Return whether a string in a block goes over several lines, which another indentation would change."""
    texts = (one for part in block for one in ast.walk(part) if isinstance(one, ast.Constant | ast.JoinedStr))
    return any(one.lineno != one.end_lineno for one in texts)
