"""The codec of a kind of skeleton: prompts and completions for a JSON file of numbers.

In Overnight, it is the module of `tasks/sample/codecs/` that has the name of the kind.
"""

from __future__ import annotations

import json
from itertools import zip_longest

from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.sampling_settings import Model
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.sample.codecs import FENCE, ParsedCompletion, PromptContent
from tests.examples.json_numbers import Numbers


def render(skeleton: Numbers, content: PromptContent, model: Model) -> str:
    """Return the prompt: all versions, worst first, each below what is said of its score."""
    noted = zip_longest(content.bodies, content.notes, fillvalue="")
    versions = "\n\n".join(f"A version {note}:\n```json\n{body.strip()}\n```" for body, note in noted)
    statement = "" if content.has_system_message else content.statement
    idea = "Begin with one line `# idea: `: what you change." if content.has_system_message else ""
    asked = "Answer with better numbers under the same names, in a JSON code block."
    return "\n\n".join(part for part in (statement, versions, content.feedback, idea, asked) if part)


def parse(text: str, skeleton: Numbers, shown: int, base: str) -> ParsedCompletion:
    """Return the last code block with all the numbers."""
    names = set(json.loads(skeleton.text))
    for block in reversed(FENCE.findall(text)):
        try:
            found = parse_json(block)
        except ValueError:
            continue
        if isinstance(found, dict) and set(found) == names and all(type(n) in (int, float) for n in found.values()):
            body = json.dumps(found, indent=1)
            return ParsedCompletion(body, skeleton.code_hash(body))
    return ParsedCompletion(verdict=Verdict(Outcome.UNPARSABLE, error="no code block with all the numbers"))
