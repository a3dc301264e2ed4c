"""Finds what a prompt tells of a function's arguments: their kinds, and the names of their attributes and keys.

It is taken from annotations, from classes that the prompt shows, from code that reads the arguments, and from what is
said of them. No other name is taken for an attribute or a key.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from overnight.tasks.sample.builtin.expression_types import (
    ARRAY,
    BOOL,
    FLOAT,
    INT,
    OBJECT,
    OTHER,
    Base,
    Env,
    Kind,
    from_annotation,
    of_constant,
    record,
    sequence,
)
from overnight.tasks.sample.builtin.trees import all_arguments, called, nodes

_MAX_NESTING = 3
_ELEMENT, _ARRAY = "[]", "array"
_ARRAY_ATTRIBUTES = frozenset(("T", "dtype", "ndim", "shape", "size"))
_SAME_ITEMS = frozenset(("enumerate", "list", "reversed", "sorted", "tuple"))
_DICTIONARIES = frozenset(("dict", "Dict", "Mapping", "MutableMapping"))
_QUOTED = re.compile(r"""(?<![\w.\])"'`])["'`]{1,2}([A-Za-z_]\w*)["'`]{1,2}(?!\w)""")
_WITH_VALUE = re.compile(r"""["'`](\w+)["'`]+(?::\s*|\s+\((?:an?\s+)?)(\w+|["'\[{-])""")
_SENTENCE_ENDS = re.compile(r"(?<=[.!?;])\s+|\n\s*\n")
_SAYS_KEYS = re.compile(r"\b(?:dict\w*|mapping|keys?|JSON)\b", re.IGNORECASE)
_SAYS_ATTRIBUTES = re.compile(r"\b(?:attributes?|fields?|properties)\b", re.IGNORECASE)
_SAYS_SEVERAL = re.compile(r"\b(?:list|tuple|sequence)s? of\b", re.IGNORECASE)
_SAID: dict[str, Kind] = {
    **dict.fromkeys(("int", "integer", "whole"), INT),
    **dict.fromkeys(("bool", "true", "false", "True", "False"), BOOL),
    **dict.fromkeys(("list", "tuple", "["), sequence(FLOAT)),
    **dict.fromkeys(("str", "string", "text", "dict", "null", "None", '"', "'", "{"), OBJECT),
}


def kinds_of_arguments(
    header: ast.FunctionDef, shown: Iterable[ast.FunctionDef], classes: Iterable[ast.ClassDef], text: str
) -> Env:
    """Return the kinds of a function's arguments.

    Args:
        header: The function.
        shown: Functions that the prompt shows, with the same names of arguments.
        classes: Classes that the prompt shows.
        text: What is said, in docstrings and around the code.
    """
    reader = _Reader()
    for function in shown:
        reader.visit(function)
    said = {word: _SAID.get(value, FLOAT) for word, value in _WITH_VALUE.findall(text)}
    words = _Words(_kinds_of_classes(list(classes)), reader.uses, said, text)
    env = {argument.arg: words.kind_of(argument) for argument in all_arguments(header)}
    if header.args.vararg is not None:
        env[header.args.vararg.arg] = sequence(from_annotation(header.args.vararg.annotation, words.classes))
    if header.args.kwarg is not None:
        env[header.args.kwarg.arg] = OTHER
    return env


def _kinds_of_classes(classes: list[ast.ClassDef]) -> dict[str, Kind]:
    known: dict[str, Kind] = {}
    for _ in range(_MAX_NESTING):  # a class may name one below it, or itself
        known = {one.name: _kind_of_class(one, known) for one in classes}
    return known


def _kind_of_class(shown: ast.ClassDef, known: Mapping[str, Kind]) -> Kind:
    """Return the kind of a class's objects: its annotated fields, its properties, and what `__init__` sets."""
    bases = [getattr(base, "attr", getattr(base, "id", "")) for base in shown.bases]
    inherited = [known[base] for base in bases if base in known]
    fields = {word: kind for base in inherited for word, kind in base.fields}
    for statement in shown.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=word), annotation=annotation):
                fields[word] = from_annotation(annotation, known)
            case ast.FunctionDef(name=word, decorator_list=[ast.Name(id="property" | "cached_property")]):
                fields[word] = from_annotation(statement.returns, known)
            case ast.FunctionDef(name="__init__"):
                fields |= _set_by(statement, known)
    return record(fields, has_keys="TypedDict" in bases or any(base.has_keys for base in inherited))


def _set_by(init: ast.FunctionDef, known: Mapping[str, Kind]) -> Env:
    given = {argument.arg: from_annotation(argument.annotation, known) for argument in all_arguments(init)}
    fields: Env = {}
    for statement in init.body:
        match statement:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="self"), attr=word)], value=value):
                is_given = isinstance(value, ast.Name)
                fields[word] = given.get(value.id, OTHER) if is_given else of_constant(getattr(value, "value", None))
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=word), annotation=annotation):
                fields[word] = from_annotation(annotation, known)
    return fields


@dataclass(frozen=True, slots=True)
class _Words:
    """Facts of names in a prompt.

    Attributes:
        classes: Kinds of the objects of the classes that it shows.
        uses: Parts that its code reads of each name, attribute, key or element (`job['due']`, `jobs[].due`).
        said: Kinds of attributes and keys that it says, or shows a value of.
        text: Its text.
    """

    classes: Mapping[str, Kind]
    uses: dict[str, set[str]]
    said: Mapping[str, Kind]
    text: str

    def kind_of(self, argument: ast.arg) -> Kind:
        """Return the kind of an argument."""
        kind, name, described = from_annotation(argument.annotation, self.classes), argument.arg, argument.annotation
        is_several = kind.base is Base.SEQUENCE
        if is_several:
            inner = getattr(described, "slice", None)
            described = inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner
        if described is not None and not self._is_vague(described):
            return kind
        said = self._said_of(name)
        uses = self.uses.setdefault(name, set())
        if is_several or (argument.annotation is None and _SAYS_SEVERAL.search(said)):
            uses.add(_ELEMENT)
        place = name + _ELEMENT if _ELEMENT in uses else name
        self._add_said(place, name, said, is_dictionary=_head(described) in _DICTIONARIES)
        if argument.annotation is None:
            return self._kind_used(name, FLOAT)
        found = self._kind_used(place, self._kind_of_values(described))
        return kind if found.base is not Base.RECORD else sequence(found) if is_several else found

    def _kind_of_values(self, annotation: ast.expr | None) -> Kind:
        """Return the kind of the values of a dictionary; of a number if its annotation does not say it."""
        inner = getattr(annotation, "slice", None)
        kind = from_annotation(inner.elts[-1], self.classes) if isinstance(inner, ast.Tuple) and inner.elts else OTHER
        return FLOAT if kind == OTHER else kind

    def _is_vague(self, annotation: ast.expr) -> bool:
        """Return whether an annotation is one of a dictionary with texts as keys, or not known."""
        if _head(annotation) not in _DICTIONARIES:
            return from_annotation(annotation, self.classes) == OTHER
        inner = getattr(annotation, "slice", None)
        return inner is None or (isinstance(inner, ast.Tuple) and _head(inner.elts[0]) == "str")

    def _said_of(self, name: str) -> str:
        """Return what is said of an argument: its entry in docstrings, or else the sentences that name it."""
        entry = rf"^([ \t]*)[-*`]*{name}`?[ \t]*(?:\([^)\n]*\))?:(?:.*(?:\n\1[ \t]+\S.*)*)"
        entries = [found[0] for found in re.finditer(entry, self.text, re.MULTILINE)]
        named = re.compile(rf"\b{re.escape(name.removesuffix('s'))}s?\b", re.IGNORECASE)
        return "\n".join(entries or filter(named.search, _SENTENCE_ENDS.split(self.text)))

    def _add_said(self, place: str, name: str, sentences: str, *, is_dictionary: bool) -> None:
        """Add the attributes and keys that are said to be those of an argument."""
        uses = self.uses.setdefault(place, set())
        uses.update(f".{word}" for word in re.findall(rf"`{name}\.([A-Za-z_]\w*)(?!\w|\()", self.text))
        uses.update(f"[{word!r}]" for word in re.findall(rf"""\b{name}\[["'](\w+)["']\]""", self.text))
        quoted = [word for word in _QUOTED.findall(sentences) if word != name]
        if is_dictionary or any(use[:2] == "['" for use in uses) or _SAYS_KEYS.search(sentences):
            uses.update(f"[{word!r}]" for word in quoted)
        elif _SAYS_ATTRIBUTES.search(sentences):
            uses.update(f".{word}" for word in quoted)

    def _kind_used(self, place: str, default: Kind) -> Kind:
        """Return the kind of what is used so; the default if nothing tells it."""
        uses = self.uses.get(place, set())
        if _ARRAY in uses:
            return ARRAY
        for start, end in (("['", "']"), (".", "")):
            words = sorted(use.removeprefix(start).removesuffix(end) for use in uses if use.startswith(start))
            if words:
                fields = {word: self._kind_of_field(place, word, start, end, default) for word in words}
                return record(fields, has_keys=start != ".")
        return sequence(self._kind_used(place + _ELEMENT, FLOAT)) if _ELEMENT in uses else default

    def _kind_of_field(self, place: str, word: str, start: str, end: str, default: Kind) -> Kind:
        return self._kind_used(f"{place}{start}{word}{end}", self.said.get(word, default))


def _head(annotation: ast.expr | None) -> str:
    """Return the name of an annotation without what is in its brackets."""
    inner = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return inner.attr if isinstance(inner, ast.Attribute) else getattr(inner, "id", "")


class _Reader(ast.NodeVisitor):
    """Reader of what functions read of each name.

    Attributes:
        uses: Attributes (`.due`), keys (`['due']`) and elements (`[]`) by the expression that they are read of.
    """

    def __init__(self) -> None:
        self.uses: dict[str, set[str]] = {}
        self._same: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._same = {}
        for loop in nodes(node):
            match loop:
                case ast.For(target=target, iter=iterated) | ast.comprehension(target=target, iter=iterated):
                    self._bind(target, iterated)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Attribute() | ast.Subscript() as value):
                    self._same.setdefault(name, self._read(value))
        self.generic_visit(node)

    def _bind(self, target: ast.expr, iterated: ast.expr) -> None:
        place = self._read(iterated)
        if place:
            self.uses.setdefault(place, set()).add(_ELEMENT)
        if called(iterated) == "enumerate" and isinstance(target, ast.Tuple):
            target = target.elts[-1]
        if place and isinstance(target, ast.Name):
            self._same.setdefault(target.id, place + _ELEMENT)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._read(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._read(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self._read(node)
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Name | ast.Attribute | ast.Subscript) and (place := self._read(first)):
            if called(node) in ("len", "sum") and isinstance(node.func, ast.Name):
                self.uses.setdefault(place, set()).add(_ELEMENT)
            elif isinstance(node.func, ast.Attribute) and _head(node.func.value) == "np":
                self.uses.setdefault(place, set()).add(_ARRAY)
        if isinstance(node.func, ast.Attribute):  # a method is no attribute with a value
            self.visit(node.func.value)
        for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.visit(part)

    def _read(self, tree: ast.expr) -> str:
        """Note what an expression reads, and return its place; empty if it is no part of a name."""
        match tree:
            case ast.Name(id=name):
                return self._same.get(name, name)
            case ast.Attribute(value=value, attr=attr):
                return self._part(value, _ARRAY if attr in _ARRAY_ATTRIBUTES else f".{attr}")
            case ast.Subscript(value=value, slice=ast.Constant(value=str() as key)):
                return self._part(value, f"[{key!r}]")
            case ast.Call(func=ast.Attribute(value=value, attr="get"), args=[ast.Constant(value=str() as key), *_]):
                return self._part(value, f"[{key!r}]")
            case ast.Subscript(value=value):
                return self._part(value, _ELEMENT)
            case ast.Call(func=ast.Name(id=function), args=[inner, *_]) if function in _SAME_ITEMS:
                return self._read(inner)
        return ""

    def _part(self, value: ast.expr, use: str) -> str:
        place = self._read(value)
        if place:
            self.uses.setdefault(place, set()).add(use)
        return place and place + use
