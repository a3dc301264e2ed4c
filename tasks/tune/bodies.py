"""Bodies of programs as texts with numbers: where these are, a body with others, and the answer that holds a body."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program import python_source
from overnight.tasks.program.evolving_files import EvolvingFiles
from overnight.tasks.program.marked_file import END, START, MarkedFile, split_at_marks, split_blocks
from overnight.tasks.program.specification import Specification
from overnight.tasks.tune.literals import Literal, Span, find_literals, replace_literals


@dataclass(frozen=True, slots=True)
class Part:
    """A Python text of a program."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class NumberedBody:
    """A body with the numbers that may be tuned.

    Attributes:
        sizes: Numbers of the problem's inputs.
    """

    skeleton: Skeleton
    text: str
    sizes: frozenset[float] = frozenset()

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        parts = parts_of(self.skeleton, self.text)
        return parts if with_texts(self.skeleton, self.text, [part.text for part in parts]) == self.text else ()

    @cached_property
    def _found(self) -> tuple[tuple[int, Literal], ...]:
        parts = enumerate(self._parts)
        return tuple((i, literal) for i, part in parts for literal in find_literals(part.text, part.spans, self.sizes))

    @cached_property
    def literals(self) -> tuple[Literal, ...]:
        """The numbers, in order; none if the body is not Python."""
        return tuple(literal for _, literal in self._found)

    def written(self, number: int) -> str:
        """Return the text of a number by its position among `literals`."""
        part, literal = self._found[number]
        return self._parts[part].text[literal.start : literal.end]

    def with_numbers(self, texts: Mapping[int, str]) -> str:
        """Return the body with other texts for some numbers, by their positions among `literals`."""
        changed = []
        for place, part in enumerate(self._parts):
            mine = {
                literal: texts[i] for i, (owner, literal) in enumerate(self._found) if owner == place and i in texts
            }
            changed.append(replace_literals(part.text, mine))
        return with_texts(self.skeleton, self.text, changed)


def completion_text(skeleton: Skeleton, base: str, body: str, idea: str) -> str:
    """Return the answer of a model that has a body, below a line that says what it changes."""
    sections = [("", skeleton.bare_text(body))]
    if isinstance(skeleton, MarkedFile):
        sections = [("", _with_marks(skeleton, body))]
    elif isinstance(skeleton, EvolvingFiles):
        old, new = skeleton.split(base), skeleton.split(body)
        changed = [file for file in skeleton.files if old[file.name] != new[file.name]]
        sections = [(file.name, _with_marks(file, new[file.name])) for file in changed or skeleton.files]
    blocks = [f"{path}\n{_fence(text)}\n{text}\n{_fence(text)[:3]}".lstrip() for path, text in sections]
    return "\n\n".join([f"# idea: {idea}", *blocks, ""])


def sizes_of(values: object) -> frozenset[float]:
    """Return all numbers in plain data."""
    if isinstance(values, bool) or values is None:
        return frozenset()
    if isinstance(values, int | float):
        return frozenset([values])
    if isinstance(values, Mapping):
        return frozenset[float]().union(*(sizes_of(value) for value in values.values()))
    if isinstance(values, Collection) and not isinstance(values, str | bytes):
        return frozenset[float]().union(*(sizes_of(value) for value in values))
    return frozenset()


def parts_of(skeleton: Skeleton, body: str) -> tuple[Part, ...]:
    """Return the Python texts of a body, with what evolves of each; none in other languages."""
    if isinstance(skeleton, Specification):
        return (_part_of_functions(skeleton, body),)
    if isinstance(skeleton, MarkedFile):
        return _parts_of_file(skeleton, body)
    if isinstance(skeleton, EvolvingFiles):
        bodies = skeleton.split(body)
        return tuple(part for file in skeleton.files for part in _parts_of_file(file, bodies[file.name]))
    return ()


def _part_of_functions(skeleton: Specification, body: str) -> Part:
    """Return a body as one text; headers of the evolved functions are no part of what evolves."""
    if len(skeleton.functions) == 1 and not skeleton.beside(body):
        return Part(body, ((0, len(body)),))
    try:
        functions = python_source.functions(python_source.parse(body))
    except python_source.SourceError:
        return Part(body, ())
    spans = [_span_of_body(body, function) for function in functions if function.name in skeleton.evolved]
    return Part(body, ((0, len(skeleton.beside(body))), *spans))


def _span_of_body(text: str, function: ast.FunctionDef) -> Span:
    lines = text.split("\n")
    (first, _), last = python_source.header_end(text, function), function.end_lineno or 0
    return len("\n".join(lines[:first])), len("\n".join(lines[:last]))


def _parts_of_file(file: MarkedFile, body: str) -> tuple[Part, ...]:
    """Return the whole file, with its blocks as what evolves; nothing for other languages."""
    blocks = split_blocks(body)
    if file.language != "python" or len(blocks) != len(file.fixed) - 1:
        return ()
    spans, place = [], 0
    for fixed, block in zip(file.fixed, blocks, strict=False):
        place += len(fixed)
        spans.append((place, place + len(block)))
        place += len(block) + (block != "" and not block.endswith("\n") and file.has_marks)
    return (Part(file.with_body(body), tuple(spans)),)


def with_texts(skeleton: Skeleton, body: str, texts: Sequence[str]) -> str:
    """Return the body whose parts have these texts."""
    if not texts:
        return body
    if isinstance(skeleton, MarkedFile):
        return _body_of_file(skeleton, texts[0])
    if isinstance(skeleton, EvolvingFiles):
        bodies = skeleton.split(body)
        python = [file for file in skeleton.files if _parts_of_file(file, bodies[file.name])]
        changed = {file.name: _body_of_file(file, text) for file, text in zip(python, texts, strict=True)}
        return skeleton.join(bodies | changed)
    return texts[0]


def _body_of_file(file: MarkedFile, text: str) -> str:
    return file.join(split_at_marks(text, file.name)[1]) if file.has_marks else text


def _with_marks(file: MarkedFile, body: str) -> str:
    """Return a body between marks, so that no line of it can be taken for the text around it."""
    return f"# {START}\n{body}\n# {END}" if file.has_marks else body


def _fence(text: str) -> str:
    return "```python" if "```" not in text else "~~~python"
