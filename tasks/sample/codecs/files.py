"""Prompts and completions for several files that evolve together."""

from __future__ import annotations

import difflib
from itertools import pairwise

from schemas.evolving_files import EvolvingFiles
from schemas.sampling_settings import Model
from tasks.sample.codecs.codec import LONG_LINES, PromptContent, templates
from tasks.sample.parsing.evolving_files import parse_evolving_files
from tasks.sample.parsing.parsed import ParsedCompletion, fence_for

_MAX_COMPARED_LINES = 2000
"""Most lines of a file that are compared: the time may grow with the square of their number."""

_MAX_DIFF_LINES = 120
"""Most lines that a prompt shows of what changed from one version to the next."""


class FilesCodec:
    """Codec of `EvolvingFiles`: what earlier versions changed, then all files of the best version."""

    def render(self, skeleton: EvolvingFiles, content: PromptContent, model: Model) -> str:  # noqa: ARG002
        """Return the prompt, which has one form for chat and completion models."""
        bodies = content.bodies
        files = [(path, text.rstrip("\n")) for path, text in skeleton.program(bodies[-1]).files]
        changes = [change for older, newer in pairwise(bodies) if (change := _diff(skeleton, older, newer))]
        return (
            templates()
            .get_template("files.jinja")
            .render(
                **content.facts,
                wanted="" if content.has_system_message else content.statement,
                note=content.notes[-1] if content.notes else "",
                marked=any(file.has_marks for file in skeleton.files),
                changes=[(fence_for(change), change) for change in changes],
                files=[
                    (path, fence_for(text), file.language, text)
                    for file, (path, text) in zip(skeleton.files, files, strict=True)
                ],
                is_long=any(body.count("\n") >= LONG_LINES for body in skeleton.split(bodies[-1]).values()),
            )
        )

    def parse(self, text: str, skeleton: EvolvingFiles, shown: int, base: str) -> ParsedCompletion:  # noqa: ARG002
        """Return the bodies of the files in a completion."""
        return parse_evolving_files(text, skeleton, base)


def _diff(skeleton: EvolvingFiles, older: str, newer: str) -> str:
    """Return the changes between two versions of all files, shortened; empty if there are none."""
    before, after = skeleton.split(older), skeleton.split(newer)
    lines: list[str] = []
    for path in skeleton.paths:
        texts = (before[path].split("\n"), after[path].split("\n"))
        if max(map(len, texts)) <= _MAX_COMPARED_LINES:
            lines += difflib.unified_diff(*texts, path, path, lineterm="", n=1)
        elif texts[0] != texts[1]:
            lines.append(f"{path}: too long to compare")
    return "\n".join([*lines[:_MAX_DIFF_LINES], "…"] if len(lines) > _MAX_DIFF_LINES else lines)


CODEC = FilesCodec()
