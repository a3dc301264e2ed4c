"""Prompts and completions for the evolved functions of a specification."""

from __future__ import annotations

from itertools import zip_longest

from schemas.sampling_settings import Model
from tasks.program import python_source
from tasks.program.edits import has_edits
from tasks.program.evolved_function import EvolvedFunction
from tasks.program.source_lines import indent
from tasks.program.specification import Specification
from tasks.sample.codecs.codec import LONG_LINES, ParsedCompletion, PromptContent, templates
from tasks.sample.parse_functions import parse_edited_functions, parse_functions


class FunctionsCodec:
    """Codec of a `Specification`: versions of the functions, then the header of the next version."""

    def render(self, skeleton: Specification, content: PromptContent, model: Model) -> str:
        """Return the prompt, in the style of the model."""
        target = len(content.bodies)
        noted = enumerate(zip_longest(content.bodies, content.notes, fillvalue=""))
        return (
            templates()
            .get_template(f"{model.style}.jinja")
            .render(
                preface=skeleton.preface,
                **content.facts,
                wanted="" if content.has_system_message else content.statement or skeleton.docstring,
                are_scored=bool(content.notes),
                versions=[_version(skeleton, body, number, note) for number, (body, note) in noted],
                headers=[_header(function, target) for function in skeleton.functions],
                targets=[_name(name, target) for name in skeleton.evolved],
                latest=[_name(name, target - 1) for name in skeleton.evolved],
                is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(content.bodies[-1])),
            )
        )

    def parse(self, text: str, skeleton: Specification, shown: int, base: str) -> ParsedCompletion:
        """Return the bodies of the functions in a completion, written out or as edits of the latest version."""
        if has_edits(text):
            latest = _version(skeleton, base or skeleton.start_body, shown - 1)
            return parse_edited_functions(text, latest, skeleton, shown)
        return parse_functions(text, skeleton, shown, base)


def _version(specification: Specification, body: str, number: int, note: str = "") -> str:
    """Return all evolved functions of one version below its note; they call each other under its names."""
    names = {name: _name(name, number) for name in specification.evolved}
    bodies = [python_source.rename(own, names) for own in specification.split(body)]
    both = zip(specification.functions, bodies, strict=True)
    text = "\n\n\n".join(_function(function, own, number) for function, own in both)
    return f"# Version {number} {note}.\n{text}" if note else text


def _function(function: EvolvedFunction, body: str, number: int) -> str:
    docstring = function.docstring if number == 0 else f"Improved version of `{_name(function.name, number - 1)}`."
    quoted = '"""' + docstring.replace("\\", "\\\\").replace('"""', "'''") + ("\n" if "\n" in docstring else "") + '"""'
    parts = [indent(quoted, "    ")] if docstring else []
    return "\n".join([_header(function, number), *parts, indent(body, "    ")])


def _header(function: EvolvedFunction, number: int) -> str:
    return python_source.rename_first(function.header, function.name, _name(function.name, number))


def _name(name: str, number: int) -> str:
    return f"{name}_v{number}"


CODEC = FunctionsCodec()
