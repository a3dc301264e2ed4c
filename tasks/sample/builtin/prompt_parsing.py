"""Finds the functions and names in the text of a prompt, and analyses them once for all samples of the prompt.

A prompt as in FunSearch (Romera-Paredes et al., Nature 625, 2023, fig. 2) ends in an empty header, and a chat prompt
puts prose around it, so the whole text is not valid Python. Each function is found and parsed separately.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache

from overnight.tasks.program import python_source
from overnight.tasks.program.source_lines import split_lines
from overnight.tasks.sample.builtin.expression_types import (
    FLOAT,
    MATH,
    NUMPY,
    OTHER,
    Env,
    Kind,
    from_annotation,
)
from overnight.tasks.sample.builtin.mutation_sites import Survey, bound_by, infer, survey
from overnight.tasks.sample.builtin.trees import all_arguments, dump, nodes, size
from overnight.tasks.sample.builtin.words import kinds_of_arguments

_DEF = re.compile(r"^([ \t]*)(?:async[ \t]+)?def[ \t]+\w+[ \t]*\(")
_DEFINITION = re.compile(rf"{_DEF.pattern}|^()class[ \t]+\w+.*:")
_VERSION = re.compile(r"^(.*)_v(\d+)$")
_SHOWN = re.compile(r"^# Version 0 .*?(?=^```|\Z)", re.MULTILINE | re.DOTALL)
"""The versions in a prompt, each below its note; behind them stand the fence, or the header that is to be completed."""
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])")
_MAX_HEADER_LINES = 40
_MAX_DEPTH = 60
_MAX_TYPICAL = 24
_LARGE = 1e9
_SMALLEST_PART, _LARGEST_PART = 3, 9
_EMPTY_HEADER = "def answer():\n    pass"


@dataclass(frozen=True, slots=True)
class ParsedPrompt:
    """Functions and names of a prompt. The trees are shared between its samples: clone them before a change.

    Attributes:
        header: The function to write, with its docstring and without a body.
        parents: The versions that are shown, in their order, under the name and arguments of the header.
        env: The names that every version may use: arguments, imports, constants and helpers.
        returns: Kind of the function's return value.
        typical: Numbers that the text mentions or the versions use, as constants to try.
        forbidden: Names of the versions that are shown, which the answer must not call.
        reusable: Small expressions of the parents with their kinds, for reuse.
        parent_dumps: Dumps of the parents' bodies.
        surveys: Survey of each parent.
    """

    header: ast.FunctionDef
    parents: tuple[ast.FunctionDef, ...]
    env: Env
    returns: Kind
    typical: tuple[float, ...]
    forbidden: frozenset[str]
    reusable: tuple[tuple[ast.expr, Kind], ...]
    parent_dumps: frozenset[Hashable]
    surveys: tuple[Survey, ...]


@dataclass(slots=True)
class FoundFunctions:
    """Functions and classes of a text, and the lines outside of them."""

    functions: list[ast.FunctionDef] = field(default_factory=list)
    classes: list[ast.ClassDef] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@lru_cache(maxsize=64)
def parse_prompt(prompt: str, facts: str = "") -> ParsedPrompt:
    """Find the empty header to complete, the versions before it, and the names that they may use.

    It is cached, because several completions are requested for each prompt.

    Args:
        prompt: The prompt.
        facts: What is told beside it, which may say what the arguments are.
    """
    found = find_functions(split_lines(prompt))
    header = _pick_header(found.functions)
    family = _family(header.name)
    relatives = [f for f in found.functions if _family(f.name) == family and not is_empty(f)]
    parents = tuple(_adopt(f, header) for f in relatives)
    header = _bare(header)
    env = _preface(found.outside)
    helpers = [f for f in found.functions if _family(f.name) != family]
    env |= {each.name: OTHER for each in [*helpers, *found.classes]}
    docstrings = [ast.get_docstring(each) or "" for each in [*found.functions, *found.classes, header]]
    text = "\n\n".join(["\n".join(found.outside), *docstrings, facts])
    # A failed try, which has no number, may read what is not there.
    worked = [parent for each, parent in zip(relatives, parents, strict=True) if each.name != family]
    env = _borrowed_modules(parents, env) | kinds_of_arguments(header, [*helpers, *worked], found.classes, text)
    returns = _returned(header, parents, env)
    forbidden = {f.name for f in found.functions if _family(f.name) == family} - {header.name}
    typical = _mentioned(found.outside, header) + _used(parents)
    surveys = tuple(survey(parent, env) for parent in parents)
    return ParsedPrompt(
        header,
        parents,
        env,
        returns,
        typical,
        frozenset(forbidden),
        # Without its minus, a part is more likely to be of use.
        reusable=tuple(
            (site.tree, site.kind)
            for each in surveys
            for site in each.sites
            if _SMALLEST_PART <= size(site.tree) <= _LARGEST_PART and not isinstance(site.tree, ast.UnaryOp)
        ),
        parent_dumps=frozenset(dump(parent.body) for parent in parents),
        surveys=surveys,
    )


@lru_cache(maxsize=64)
def helpers_shown(prompt: str) -> tuple[ast.stmt, ...]:
    """Return what stands beside the versions of the evolved functions that a prompt shows: imports, tables, helpers."""
    shown = _SHOWN.search(prompt)
    module = parse_module(shown[0]) if shown else None
    statements = module.body if module else ()
    return tuple(one for one in statements if not (isinstance(one, ast.FunctionDef) and _VERSION.match(one.name)))


def parse_module(source: str) -> ast.Module | None:
    """Return the tree of a text; `None` if it is not Python or too deep to walk."""
    try:
        tree = python_source.parse(source)
    except python_source.SourceError:
        return None
    return tree if _depth(tree) <= _MAX_DEPTH else None


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
    return depth


def is_empty(function: ast.FunctionDef) -> bool:
    """Return whether a function's body has nothing but a docstring, `pass` or `...`."""
    return all(map(python_source.does_nothing, function.body))


def find_functions(lines: list[str]) -> FoundFunctions:
    """Return the functions and classes of a prompt, each parsed separately, and the lines outside of them."""
    found = FoundFunctions()
    at = 0
    while at < len(lines):
        start = _DEFINITION.match(lines[at])
        if start is None:
            found.outside.append(lines[at])
            at += 1
            continue
        definition, at = _read_definition(lines, at, len(start[1] or ""))
        if isinstance(definition, ast.ClassDef):
            found.classes.append(definition)
        elif definition is not None:
            found.functions.append(definition)
    return found


def _read_definition(lines: list[str], at: int, indent: int) -> tuple[ast.FunctionDef | ast.ClassDef | None, int]:
    """Return the definition that starts in line `at`, or `None` if it does not parse, and the line to go on at."""
    lines_left = [line[indent:] for line in lines[at:]]
    header = next((h for h in range(1, _MAX_HEADER_LINES) if _is_header(lines_left[:h])), None)
    if header is None:
        return None, at + 1
    end = header
    while end < len(lines_left) and _belongs(lines[at + end], indent):
        end += 1
    # A docstring's text may be indented less than the code around it; then only the next function ends this one.
    stops = (n for n in range(header, len(lines_left)) if _DEF.match(lines[at + n]) or lines[at + n].startswith("```"))
    for stop in (end, next(stops, len(lines_left))):
        text = "\n".join(lines_left[:stop])
        for candidate in (text, text + "\n pass"):
            tree = parse_module(candidate)
            match tree and tree.body:
                case [ast.FunctionDef() | ast.ClassDef() as definition]:
                    return definition, at + stop
    return None, at + end


def _is_header(lines: list[str]) -> bool:
    text = "\n".join(lines)
    return parse_module(text) is not None or parse_module(text + "\n pass") is not None


def _belongs(line: str, indent: int) -> bool:
    return not line.strip() or len(line) - len(line.lstrip()) > indent


def _family(name: str) -> str:
    version = _VERSION.match(name)
    return version[1] if version else name


def _pick_header(functions: list[ast.FunctionDef]) -> ast.FunctionDef:
    """Return the last function without a body; if there is none, a header of the version after the last one."""
    empty = [f for f in functions if is_empty(f)]
    if empty:
        return empty[-1]
    versions = [f for f in functions if _VERSION.match(f.name)] or functions
    if not versions:
        return _only_function(_EMPTY_HEADER)
    last = versions[-1]
    version = _VERSION.match(last.name)
    name = f"{version[1]}_v{int(version[2]) + 1}" if version else last.name
    return ast.FunctionDef(name, last.args, [ast.Pass()], [], last.returns, last.type_comment)


def _only_function(source: str) -> ast.FunctionDef:
    function = python_source.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


def _bare(function: ast.FunctionDef) -> ast.FunctionDef:
    function.body = docstring(function)
    function.decorator_list = []
    return function


def docstring(function: ast.FunctionDef) -> list[ast.stmt]:
    """Return the docstring as a list of at most one statement."""
    return function.body[:1] if ast.get_docstring(function, clean=False) is not None else []


def _adopt(parent: ast.FunctionDef, header: ast.FunctionDef) -> ast.FunctionDef:
    """Return the parent's body under the header's name and arguments."""
    renamed = dict(zip(argument_names(parent), argument_names(header), strict=False)) | {parent.name: header.name}
    changed = {old: new for old, new in renamed.items() if old != new}
    body = parent.body[len(docstring(parent)) :]
    for node in (n for statement in body for n in nodes(statement)):
        if isinstance(node, ast.Name):
            node.id = changed.get(node.id, node.id)
    return ast.FunctionDef(header.name, header.args, body, [], header.returns, None)


def argument_names(function: ast.FunctionDef) -> list[str]:
    return [a.arg for a in all_arguments(function)]


def _preface(lines: list[str]) -> Env:
    """Return the names of one-line imports and constants outside of docstrings."""
    env: Env = {}
    is_text = False
    for line in lines:
        was_text, is_text = is_text, is_text ^ bool((line.count('"""') + line.count("'''")) % 2)
        if was_text or is_text or not line[:1].isidentifier():
            continue
        for statement in getattr(parse_module(line), "body", []):
            env |= bound_by(statement, env)
    return env


def _borrowed_modules(parents: tuple[ast.FunctionDef, ...], env: Env) -> Env:
    """Return `env` with `np` and `math` if a parent uses them.

    Published specifications use `np` without importing it. A module that a scored parent uses must exist.
    """
    used = {n.id for p in parents for n in nodes(p) if isinstance(n, ast.Name)}
    return {name: kind for name, kind in (("np", NUMPY), ("math", MATH)) if name in used} | env


def _returned(header: ast.FunctionDef, parents: tuple[ast.FunctionDef, ...], env: Env) -> Kind:
    if header.returns is not None:
        return from_annotation(header.returns)
    values = [n.value for p in parents for n in nodes(p) if isinstance(n, ast.Return) and n.value is not None]
    return infer(values[-1], env) if values else FLOAT


def _mentioned(lines: list[str], header: ast.FunctionDef) -> tuple[float, ...]:
    words = [*lines, ast.get_docstring(header) or ""]
    numbers = {float(n) for line in words for n in _NUMBER.findall(line)}
    return tuple(sorted(n for n in numbers if n < _LARGE))[:_MAX_TYPICAL]


def _used(parents: tuple[ast.FunctionDef, ...]) -> tuple[float, ...]:
    constants = [n for p in parents for n in nodes(p) if isinstance(n, ast.Constant)]
    return tuple(float(n.value) for n in constants if isinstance(n.value, int | float) and abs(n.value) < _LARGE)
