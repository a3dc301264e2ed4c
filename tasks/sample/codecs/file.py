"""Prompts and completions for one file with marked blocks."""

from __future__ import annotations

from itertools import zip_longest

from schemas.marked_file import MarkedFile
from schemas.sampling_settings import Model
from tasks.sample.codecs.codec import LONG_LINES, PromptContent, templates
from tasks.sample.parsing.marked_files import parse_marked_file
from tasks.sample.parsing.parsed import ParsedCompletion


class FileCodec:
    """Codec of a `MarkedFile`; its prompt has one form for chat and completion models."""

    def render(self, skeleton: MarkedFile, content: PromptContent, model: Model) -> str:  # noqa: ARG002
        """Return the prompt: earlier bodies, and the whole best version."""
        *earlier, (best, note) = zip_longest(content.bodies, content.notes, fillvalue="")
        return (
            templates()
            .get_template("file.jinja")
            .render(
                **content.facts,
                wanted="" if content.has_system_message else content.statement,
                marked=skeleton.has_marks,
                blocks=len(skeleton.fixed) - 1,
                language=skeleton.language,
                name=skeleton.name,
                earlier=earlier,
                note=note,
                file=skeleton.with_body(best).rstrip("\n"),
                is_long=best.count("\n") >= LONG_LINES,
            )
        )

    def parse(self, text: str, skeleton: MarkedFile, shown: int, base: str) -> ParsedCompletion:  # noqa: ARG002
        """Return the blocks in a completion."""
        return parse_marked_file(text, skeleton, base)


CODEC = FileCodec()
