"""Prompts and completions for the evolved functions of a specification."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from schemas import source
from schemas.evolved_function import EvolvedFunction
from schemas.settings import Model
from schemas.specification import Specification
from tasks.sample.codecs.codec import templates
from tasks.sample.parsing.functions import parse_functions
from tasks.sample.parsing.parsed import ParsedCompletion


class FunctionsCodec:
    """Codec of a `Specification`: versions of the functions, then the header of the next version."""

    def render(
        self, skeleton: Specification, bodies: Sequence[str], model: Model, statement: str, feedback: str
    ) -> str:
        """Return the prompt, in the style of the model."""
        target = len(bodies)
        return (
            templates()
            .get_template(f"{model.style}.jinja")
            .render(
                preface=skeleton.preface,
                wanted=statement or skeleton.docstring,
                feedback=feedback,
                versions=[_version(skeleton, body, number) for number, body in enumerate(bodies)],
                headers=[_header(function, target) for function in skeleton.functions],
                targets=[_name(name, target) for name in skeleton.evolved],
                latest=[_name(name, target - 1) for name in skeleton.evolved],
            )
        )

    def parse(self, text: str, skeleton: Specification, shown: int, base: str) -> ParsedCompletion:
        """Return the bodies of the functions in a completion."""
        return parse_functions(text, skeleton, shown, base)


def _version(specification: Specification, body: str, number: int) -> str:
    """Return all evolved functions of one version; they call each other under its names."""
    names = {name: _name(name, number) for name in specification.evolved}
    bodies = [source.rename(own, names) for own in specification.split(body)]
    both = zip(specification.functions, bodies, strict=True)
    return "\n\n\n".join(_function(function, own, number) for function, own in both)


def _function(function: EvolvedFunction, body: str, number: int) -> str:
    docstring = function.docstring if number == 0 else f"Improved version of `{_name(function.name, number - 1)}`."
    quoted = '"""' + docstring.replace("\\", "\\\\").replace('"""', "'''") + ("\n" if "\n" in docstring else "") + '"""'
    parts = [textwrap.indent(quoted, "    ")] if docstring else []
    return "\n".join([_header(function, number), *parts, textwrap.indent(body, "    ")])


def _header(function: EvolvedFunction, number: int) -> str:
    return source.rename_first(function.header, function.name, _name(function.name, number))


def _name(name: str, number: int) -> str:
    return f"{name}_v{number}"


CODEC = FunctionsCodec()
