"""Prompts and completions for the evolved functions of a specification.

A completion may be a bare body, functions, fenced code blocks or a whole module, with prose around them. The public
code of FunSearch expects a bare body only, so that it cannot use the completions of chat models.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from overnight.schemas.sampling_settings import Model
from overnight.tasks.program import python_source
from overnight.tasks.program.beside import join_with_modules
from overnight.tasks.program.evolved_function import EvolvedFunction
from overnight.tasks.program.module_parts import NotKeptError
from overnight.tasks.program.source_lines import escape_strings, has_blank_line, indent, split_lines
from overnight.tasks.program.specification import FILE, Specification
from overnight.tasks.sample.codecs import (
    FENCE,
    LONG_LINES,
    ParsedCompletion,
    PromptContent,
    fill_template,
    readable,
    rejected,
    unparsable,
)
from overnight.tasks.sample.codecs.file import EditError, apply_edits, begins_edit, has_edits, parse_edits

_WHOLE_FILE = re.compile(rf"^{re.escape(FILE)}\n[ \t]*(?:```|~~~)", re.MULTILINE)
"""Path of the file above a code block, which then is all of it, as an agent's is."""

_MAX_DROPPED_LINES = 200
"""Most lines that are dropped from the end of an incomplete text until it parses."""


@dataclass(frozen=True)
class _Found:
    """A function of a completion.

    Attributes:
        body: Its body.
        module: The text that it stands in, where something may be beside it.
    """

    body: str
    module: str = ""


def render(skeleton: Specification, content: PromptContent, model: Model) -> str:
    """Return the prompt in the style of the model: versions of the functions, then the header of the next version."""
    target = len(content.bodies)
    beside = _beside_each(skeleton, content)
    noted = enumerate(zip_longest(content.bodies, content.notes, beside, fillvalue=""))
    return fill_template(
        f"{model.style}.jinja",
        content,
        skeleton,
        preface=skeleton.preface_of_facts if content.has_system_message else skeleton.preface,
        are_scored=bool(content.notes),
        versions=[_version(skeleton, body, number, note, beside=text) for number, (body, note, text) in noted],
        is_left_out=beside != list(map(skeleton.beside, content.bodies)),
        headers=[_header(function, target) for function in skeleton.functions],
        targets=[_name(name, target) for name in skeleton.evolved],
        latest=[_name(name, target - 1) for name in skeleton.evolved],
        has_helpers=any(map(skeleton.beside, content.bodies)),
        shared=_shared_names(beside),
        is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(content.bodies[-1])),
    )


def _beside_each(skeleton: Specification, content: PromptContent) -> list[str]:
    """Return what stands beside each version; to who is told facts, what the last has word for word only there."""
    *others, latest = map(skeleton.beside, content.bodies)
    if content.has_system_message:
        others = [python_source.without_same(one, latest) for one in others]
    return [*others, latest]


def _shared_names(beside: Sequence[str]) -> list[str]:
    """Return the names that stand beside the last version and beside another one, which mean another thing there."""
    *others, latest = map(_defined_names, beside)
    return sorted(latest.intersection(frozenset().union(*others)))


def _defined_names(module: str) -> frozenset[str]:
    """Return the names that a module defines, without those that it imports."""
    statements = python_source.parse(module).body
    kept = [one for one in statements if not isinstance(one, ast.Import | ast.ImportFrom)]
    names = (one.name for one in kept if isinstance(one, ast.FunctionDef | ast.ClassDef))
    targets = (
        node.id
        for one in kept
        if isinstance(one, ast.Assign | ast.AnnAssign)
        for node in ast.walk(one)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    )
    return frozenset((*names, *targets))


def parse(text: str, skeleton: Specification, shown: int, base: str) -> ParsedCompletion:
    """Return the bodies of the functions in a completion, under the specification's names.

    They are written out, or edits of the latest version. The version that the prompt asks for has the number of
    programs in it; lower ones are the parents, which are never taken. If several functions evolve, one that the
    completion leaves out stays as it is in the base, and only the first one may be a bare body, which continues the
    prompt. What stands beside them in the base stays, too, unless the completion is the whole file.
    """
    try:
        if not has_edits(text):
            return _parse_written(readable(text), skeleton, shown, base)
        latest = base or skeleton.start_body
        try:
            return _parse_edited(
                readable(text), _version(skeleton, latest, shown - 1, has_docstring=False), skeleton, shown
            )
        except EditError:  # it was shown with its docstring, without scores or by an earlier version
            return _parse_edited(readable(text), _version(skeleton, latest, shown - 1), skeleton, shown)
    except (python_source.SourceError, EditError) as error:
        return unparsable(str(error))
    except NotKeptError as error:
        return rejected(str(error))


def _version(
    specification: Specification,
    body: str,
    number: int,
    note: str = "",
    *,
    has_docstring: bool = True,
    beside: str | None = None,
) -> str:
    """Return all evolved functions of one version below its note; they call each other under its names.

    The first has the docstrings of the specification. The others have none below a note, which says what they are.
    `beside` is what is shown of that which stands beside them; by default all.
    """
    names = {name: _name(name, number) for name in specification.evolved}
    bodies = [python_source.rename(own, names) for own in specification.split(body)]
    both = zip(specification.functions, bodies, strict=True)
    has_docstring = number == 0 or (has_docstring and not note)
    beside = python_source.rename(specification.beside(body) if beside is None else beside, names)
    functions = [_function(function, own, number, has_docstring=has_docstring) for function, own in both]
    text = "\n\n\n".join([*([beside] if beside else []), *functions])
    return f"# Version {number} {note}.\n{text}" if note else text


def _function(function: EvolvedFunction, body: str, number: int, *, has_docstring: bool) -> str:
    docstring = function.docstring if number == 0 else f"Improved version of `{_name(function.name, number - 1)}`."
    quoted = '"""' + docstring.replace("\\", "\\\\").replace('"""', "'''") + ("\n" if "\n" in docstring else "") + '"""'
    parts = [indent(quoted, "    ")] if docstring and has_docstring else []
    return "\n".join([_header(function, number), *parts, indent(body, "    ")])


def _header(function: EvolvedFunction, number: int) -> str:
    return python_source.rename_first(function.header, function.name, _name(function.name, number))


def _name(name: str, number: int) -> str:
    return f"{name}_v{number}"


def _parse_written(text: str, specification: Specification, version: int, base: str) -> ParsedCompletion:
    found = [_find_body(text, specification, function, version) for function in specification.functions]
    if not any(found):
        names = " or ".join(f"{name}_v{version}" for name in specification.evolved)
        return unparsable(_syntax_error(text) or f"no function {names} and no body of one")
    base = base or specification.start_body
    return _join_and_check(found, specification, version, base, inherits=not _WHOLE_FILE.search(text))


def _parse_edited(text: str, latest: str, specification: Specification, version: int) -> ParsedCompletion:
    """Return the body that results from edits of the latest version, as the prompt shows it.

    Raises:
        EditError: If the edits do not fit.
    """
    edits = parse_edits(text)
    if sum(map(begins_edit, text.split("\n"))) > len(edits):
        raise EditError("an edit that has no end")
    edited = apply_edits(latest, edits)
    try:
        python_source.parse(edited)
        # The version's own name becomes that of the new one, in its header and where it calls itself.
        renamed = python_source.rename(
            edited, {f"{name}_v{version - 1}": f"{name}_v{version}" for name in specification.evolved}
        )
        found = [_function_body([renamed], specification, each, version) for each in specification.functions]
        if not all(found):
            names = " and ".join(f"{name}_v{version - 1}" for name in specification.evolved)
            return unparsable(f"after the edits: no function {names}")
        return _join_and_check(found, specification, version, specification.start_body)
    except python_source.SourceError as error:
        return unparsable(f"after the edits: {error}")


def _join_and_check(
    found: Sequence[_Found | None], specification: Specification, version: int, base: str, *, inherits: bool = True
) -> ParsedCompletion:
    """Return the program that was found; `inherits` is whether it has what stands beside the functions of the base."""
    names = {f"{name}_v{version}": name for name in specification.evolved}
    new = [python_source.rename(one.body, names) if one else "" for one in found]
    trees = [python_source.parse(_as_function(one)) for one in new if one]
    if not any(_does_something(python_source.functions(tree)[0].body) for tree in trees):
        return rejected("the body does nothing")
    bodies = [one or old for one, old in zip(new, specification.split(base), strict=True)]
    modules = dict.fromkeys(python_source.rename(one.module, names) for one in found if one)
    modules = [_without_versions(one, specification) for one in modules]
    body = join_with_modules(specification, bodies, modules, base if inherits else "")
    tree = python_source.parse(_as_function(body))
    version_name = _version_pattern(specification)
    ancestors = sorted(name for name in python_source.called_names(tree) if version_name.fullmatch(name))
    if ancestors:
        return rejected(f"calls its ancestor {ancestors[0]}")
    return ParsedCompletion(body, python_source.code_hash(body))


def _without_versions(module: str, specification: Specification) -> str:
    """Return a module without the other versions of evolved functions in it."""
    version_name = _version_pattern(specification)
    lines = split_lines(module)
    for one in reversed(python_source.functions(python_source.parse(module))):
        if version_name.fullmatch(one.name):
            first = min([one.lineno, *(decorator.lineno for decorator in one.decorator_list)])
            del lines[first - 1 : one.end_lineno]
    return "\n".join(lines)


def _version_pattern(specification: Specification) -> re.Pattern[str]:
    """Return a pattern that matches the name of any version of any evolved function."""
    return re.compile(rf"(?:{'|'.join(map(re.escape, specification.evolved))})_v\d+")


def _find_body(text: str, specification: Specification, function: EvolvedFunction, version: int) -> _Found | None:
    """Return the body of one evolved function in a completion; `None` if there is none."""
    fenced = [_dedented(match) for match in FENCE.findall(text)]
    is_first = function is specification.functions[0]
    if is_first and not fenced and _continues_header(text):
        bare = _bare_body(text, function)
        return _Found(bare) if bare else _function_body([text], specification, function, version)
    blocks = fenced or [text]
    body = _function_body(blocks, specification, function, version)
    if body is not None or len(specification.functions) > 1:
        return body
    bare = _first_bare_body(blocks, function)
    return None if bare is None else _Found(bare)


def _dedented(block: str) -> str:
    """Dedent a block; a string with a line of spaces alone, which dedenting would empty, is written with escapes."""
    return textwrap.dedent(escape_strings(block, has_blank_line) if has_blank_line(block) else block)


def _continues_header(text: str) -> bool:
    """Return whether the text starts with an indented statement, as the body of a function does."""
    lines = [line for line in split_lines(text) if line.strip()]
    return bool(lines) and lines[0][0] in " \t" and not lines[0].lstrip().startswith("def ")


def _function_body(
    blocks: list[str], specification: Specification, evolved: EvolvedFunction, version: int
) -> _Found | None:
    for block in reversed(blocks):
        for module in _modules(block):
            function = _choose_function(python_source.parse_shallow(module), specification, evolved, version)
            if function is not None:
                return _read(module, function, evolved)
    return None


def _first_bare_body(blocks: list[str], evolved: EvolvedFunction) -> str | None:
    """Return the last bare body of the blocks; blocks that define a function are skipped, as echoes of the parents."""
    answers = (block for block in reversed(blocks) if not re.search(r"^def ", block, re.MULTILINE))
    bodies = (_bare_body(block, evolved) for block in answers)
    return next((body for body in bodies if body is not None), None)


def _modules(block: str) -> Iterator[str]:
    """Yield the block if it parses; else, from each `def` or import on, the longest part that parses."""
    if _parses(block):
        yield block
        return
    starts = [match.start() for match in re.finditer(r"^(?:@|def |import |from )", block, re.MULTILINE)]
    for start in starts[:20]:
        trimmed = _longest_whole_head(block[start:])
        if trimmed:
            yield trimmed
    inner = re.search(r"^[ \t]+def ", block, re.MULTILINE)
    if not starts and inner is not None:
        trimmed = _longest_whole_head(_dedented(block[inner.start() :]))
        if trimmed:
            yield trimmed


def _longest_whole_head(text: str) -> str | None:
    """Return the longest head that parses, without a function in which the rest begins before it has returned."""
    head = _longest_parsable_head(text)
    if head is None:
        return None
    last = python_source.parse(head).body[-1]
    rest = [line for line in split_lines(text)[len(split_lines(head)) :] if line.strip()]
    if not isinstance(last, ast.FunctionDef) or not rest or rest[0][0] not in " \t":
        return head
    if isinstance(last.body[-1], ast.Return | ast.Raise):
        return head
    first = min([last.lineno, *(one.lineno for one in last.decorator_list)])
    return "\n".join(split_lines(head)[: first - 1])


def _syntax_error(text: str) -> str:
    """Return why the last code with a function in a completion is not Python; empty if there is no such code."""
    blocks = [_dedented(match) for match in FENCE.findall(text)] or [_from_first_statement(text)]
    for block in reversed(blocks):
        if re.search(r"^def ", block, re.MULTILINE):
            try:
                python_source.parse(block)
            except python_source.SourceError as error:
                return f"SyntaxError, line {error.line}: {error}" if error.line else str(error)
    return ""


def _from_first_statement(text: str) -> str:
    found = re.search(r"^(?:@|def |import |from )", text, re.MULTILINE)
    return text[found.start() :] if found else ""


def _longest_parsable_head(text: str) -> str | None:
    """Return the longest head of the text, in whole lines, that parses and is not empty; `None` if there is none."""
    lines = split_lines(text)
    end = len(lines)
    while end > max(len(lines) - _MAX_DROPPED_LINES, 0):
        head = "\n".join(lines[:end])
        try:
            if python_source.parse(head).body:
                return head
            broken_line = end
        except python_source.SourceError as error:
            broken_line = error.line or end
        # A line that breaks the syntax does so whatever follows it, so no head that contains it parses.
        end = min(end, broken_line) - 1
    return None


def _parses(text: str) -> bool:
    try:
        return bool(python_source.parse(text).body)
    except python_source.SourceError:
        return False


def _choose_function(
    tree: ast.Module, specification: Specification, evolved: EvolvedFunction, version: int
) -> ast.FunctionDef | None:
    """Return the requested version, else the latest later one, else one with the plain name, else another that fits."""
    name = evolved.name
    versions: dict[int, ast.FunctionDef] = {}
    others: list[ast.FunctionDef] = []
    for function in python_source.functions(tree):
        if match := re.fullmatch(rf"{re.escape(name)}_v(\d+)", function.name):
            versions[int(match[1])] = function
        elif function.name == name or _may_be_renamed(function, specification, evolved):
            others.append(function)
    if version in versions:
        return versions[version]
    if versions and max(versions) > version:
        return versions[max(versions)]
    plain = [function for function in others if function.name == name]
    return (plain or others or [None])[-1]


def _may_be_renamed(function: ast.FunctionDef, specification: Specification, evolved: EvolvedFunction) -> bool:
    """Return whether a function with another name may be the evolved one; if several evolve, it would be ambiguous."""
    if len(specification.functions) > 1 or function.name == specification.run:
        return False
    return len(_parameters(function)) == len(evolved.parameters)


def _parameters(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in [*function.args.posonlyargs, *function.args.args]]


def _read(module: str, function: ast.FunctionDef, evolved: EvolvedFunction) -> _Found | None:
    """Return a function of a module with the module, and aliases for its own parameter names."""
    names = {function.name: evolved.name}
    if marks := [python_source.unparse(one) for one in function.decorator_list if not _is_mark(one)]:
        # It becomes a helper, which the function calls: what evolves has no decorators of its own.
        helper = _free_name(f"_{evolved.name}", module)
        own = indent(python_source.rename(python_source.body_of(module, function), names), "    ")
        header = python_source.rename_first(_header_of(module, function), function.name, helper)
        text = "\n".join([python_source.rename(module, names), "", *(f"@{mark}" for mark in marks), header, own])
        return _Found(f"return {helper}({', '.join(evolved.parameters)})", text)
    pairs = zip(_parameters(function), evolved.parameters, strict=False)
    above = [f"{own_name} = {parameter}" for own_name, parameter in pairs if own_name != parameter]
    is_first = not above and not evolved.keeps_docstring
    body = python_source.body_of(module, function, evolved.indentation, is_first=is_first)
    if not body:
        return None
    return _Found(python_source.rename("\n".join([*above, body]), names), python_source.rename(module, names))


def _is_mark(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0] in ("funsearch.evolve", "evolve")


def _free_name(name: str, text: str) -> str:
    while re.search(rf"\b{re.escape(name)}\b", text):
        name += "_"
    return name


def _header_of(module: str, function: ast.FunctionDef) -> str:
    end, column = python_source.header_end(module, function)
    lines = split_lines(module)[function.lineno - 1 : end]
    return "\n".join([*lines[:-1], lines[-1][: column + 1]])


def _bare_body(block: str, evolved: EvolvedFunction) -> str | None:
    """Return the longest head of a block that parses as the body of a function; `None` if there is none."""
    lines = [line for line in split_lines(block) if line.strip()]
    if not lines:
        return None
    if lines[0][0] in " \t":
        return _body_of_block(block, evolved)
    body = _body_of_block(indent(block, "    "), evolved)
    escaped = escape_strings(block)
    if body is None or escaped == block:
        return body
    # To indent a block changes its strings; with escapes, they are as they were.
    safe = _body_of_block(indent(escaped, "    "), evolved) or body
    (function,) = python_source.functions(python_source.parse(_as_function(safe)))
    return body if python_source.has_same_code(body, function.body, evolved.indentation) else safe


def _body_of_block(block: str, evolved: EvolvedFunction) -> str | None:
    """Return the longest head of an indented block that parses as the body of a function; `None` if there is none."""
    trimmed = _longest_parsable_head("def f():\n" + block.strip("\n"))
    if trimmed is None:
        return None
    function = python_source.functions(python_source.parse_shallow(trimmed))[0]
    body = python_source.body_of(trimmed, function, evolved.indentation, is_first=not evolved.keeps_docstring)
    return body if _is_code(function.body) else None


def _is_code(statements: list[ast.stmt]) -> bool:
    """Return whether it is code, not prose that happens to parse, such as `Yes` or a lone string."""
    return any(not isinstance(statement, ast.Expr) for statement in statements)


def _does_something(statements: list[ast.stmt]) -> bool:
    """Return whether a body has more than `pass`, imports and constants."""
    return any(
        not isinstance(statement, ast.Import | ast.ImportFrom) and not python_source.does_nothing(statement)
        for statement in statements
    )


def _as_function(body: str) -> str:
    return "def f():\n" + indent(body, "    ")
