"""Write what an agent is told of a problem and of the search, which is all of its task that a run stores.

`tasks/agent/workspace.py` adds what its session has: files, tools, limits.
"""

from __future__ import annotations

import difflib

from overnight.schemas.problem import Problem
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.sample.codecs import PromptContent, fence_for, templates


def agent_prompt(problem: Problem, content: PromptContent, facts: str) -> str:
    """Return what an agent is told: what is wanted, how programs are judged, where the search is, and what was tried.

    Args:
        problem: The problem.
        content: What a prompt of the plan shows.
        facts: The facts of the task, as models are told them.
    """
    skeleton = problem.specification
    notes = content.notes or ("",) * len(content.bodies)
    shown = zip(content.bodies[:-1], notes[:-1], strict=True)
    return (
        templates()
        .get_template("agent_prompt.jinja")
        .render(
            facts=facts,
            note="" if content.is_repair else notes[-1],
            others=[(*_other(skeleton, body, content.bodies[-1]), note) for body, note in shown],
            is_repair=content.is_repair,
            is_first=content.is_first,
            feedback=content.feedback,
            tried=content.tried,
            direction=content.instruction.strip(),
        )
        .strip()
    )


def _other(skeleton: Skeleton, body: str, given: str) -> tuple[str, str, str]:
    """Return a program as code, or what is different in it if that is shorter: fence, language, text."""
    old, text = skeleton.bare_text(given), skeleton.bare_text(body)
    lines = difflib.unified_diff(old.split("\n"), text.split("\n"), "yours", "the other", lineterm="", n=2)
    diff = "\n".join(lines)
    language, text = ("diff", diff) if len(diff) < len(text) else (skeleton.language, text)
    return fence_for(text), language, text
