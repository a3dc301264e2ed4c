"""Prompts and completions for the evolved functions of a specification.

A completion may be a bare body, functions, fenced code blocks or a whole module, with prose around them. The public
code of FunSearch expects a bare body only, so that it cannot use the completions of chat models.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from itertools import zip_longest

from overnight.schemas.sampling_settings import Model
from overnight.tasks.program import python_source
from overnight.tasks.program.beside import join_with_modules
from overnight.tasks.program.evolved_function import EvolvedFunction
from overnight.tasks.program.module_parts import NotKeptError, names_bound_by
from overnight.tasks.program.source_lines import indent, split_lines
from overnight.tasks.program.specification import FILE, Specification
from overnight.tasks.sample.codecs import (
    LONG_LINES,
    ParsedCompletion,
    PromptContent,
    fill_template,
    readable,
    rejected,
    unparsable,
)
from overnight.tasks.sample.codecs.file import EditError, apply_edits, begins_edit, has_edits, parse_edits
from overnight.tasks.sample.found_functions import (
    FoundFunction,
    as_function,
    does_something,
    find_body,
    function_body,
    syntax_error,
)

_WHOLE_FILE = re.compile(rf"^{re.escape(FILE)}\n[ \t]*(?:```|~~~)", re.MULTILINE)
"""Path of the file above a code block, which then is all of it, as an agent's is."""


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
        has_helpers=content.builds_on_last and any(map(skeleton.beside, content.bodies)),
        shared=_shared_names(beside),
        is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(content.bodies[-1])),
    )


def _beside_each(skeleton: Specification, content: PromptContent) -> list[str]:
    """Return what stands beside each version; to who is told facts, functions that the last has, too, only there.

    Imports and variables stay: a version that uses one above the line that has it looks broken.
    """
    *others, latest = map(skeleton.beside, content.bodies)
    if content.has_system_message:
        others = [python_source.without_same(one, latest, only_definitions=True) for one in others]
    return [*others, latest]


def _shared_names(beside: Sequence[str]) -> list[str]:
    """Return the names that stand beside the last version and beside another one, which mean another thing there."""
    *others, latest = beside
    other = [_defined_names(python_source.without_same(one, latest)) for one in others]
    return sorted(_defined_names(latest).intersection(frozenset().union(*other)))


_NAMED = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


def _defined_names(module: str) -> frozenset[str]:
    """Return the names that a module defines, without those that it imports."""
    kept = [one for one in python_source.parse(module).body if isinstance(one, _NAMED)]
    return frozenset().union(*map(names_bound_by, kept))


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
    found = [find_body(text, specification, function, version) for function in specification.functions]
    if not any(found):
        names = " or ".join(f"{name}_v{version}" for name in specification.evolved)
        return unparsable(syntax_error(text) or f"no function {names} and no body of one")
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
        found = [function_body([renamed], specification, each, version) for each in specification.functions]
        if not all(found):
            names = " and ".join(f"{name}_v{version - 1}" for name in specification.evolved)
            return unparsable(f"after the edits: no function {names}")
        return _join_and_check(found, specification, version, specification.start_body)
    except python_source.SourceError as error:
        return unparsable(f"after the edits: {error}")


def _join_and_check(
    found: Sequence[FoundFunction | None],
    specification: Specification,
    version: int,
    base: str,
    *,
    inherits: bool = True,
) -> ParsedCompletion:
    """Return the program that was found; `inherits` is whether it has what stands beside the functions of the base."""
    names = {f"{name}_v{version}": name for name in specification.evolved}
    new = [python_source.rename(one.body, names) if one else "" for one in found]
    trees = [python_source.parse(as_function(one)) for one in new if one]
    if not any(does_something(python_source.functions(tree)[0].body) for tree in trees):
        return rejected("the body does nothing")
    bodies = [one or old for one, old in zip(new, specification.split(base), strict=True)]
    modules = dict.fromkeys(python_source.rename(one.module, names) for one in found if one)
    modules = [_without_versions(one, specification) for one in modules]
    body = join_with_modules(specification, bodies, modules, base if inherits else "")
    tree = python_source.parse(as_function(body))
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
