"""Files that an agent finds in its folder, and the answer that they are when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from overnight.schemas.agent_settings import AgentLimits
from overnight.schemas.program import Prompt
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.sample.codecs import fence_for, templates

FOLDER = "program"
"""Folder of the files that evolve, below the agent's home."""

IDEA = "IDEA.md"
"""File in which an agent may say in a line what it changed."""


def files_of(skeleton: Skeleton, body: str) -> dict[str, str]:
    """Return the files that an agent may change, by path: whole files, or one with the evolved functions alone."""
    if skeleton.kind == "functions":
        return {"program.py": skeleton.function_text(body).rstrip("\n") + "\n"}
    return dict(skeleton.program(body).files)


def answer_text(skeleton: Skeleton, files: Mapping[str, str]) -> str:
    """Return files as a model would answer with them: each in a code block, below its path where there are several."""
    blocks = []
    for path, text in files.items():
        fence = fence_for(text)
        path_line = f"{path}\n" if skeleton.kind == "files" else ""
        blocks.append(f"{path_line}{fence}{skeleton.language}\n{text.rstrip()}\n{fence}\n")
    return "\n".join(blocks)


def changed_files(given: Mapping[str, str], now: Mapping[str, object]) -> dict[str, str]:
    """Return the files that differ from those that the agent was given; what it did with others is left out."""
    return {
        path: text for path in given if isinstance(text := now.get(path), str) and text.strip() != given[path].strip()
    }


def task_text(prompt: Prompt, paths: list[str], limits: AgentLimits, kind: str) -> str:
    """Return the task of an agent: how it works, and what a prompt says of the problem."""
    return (
        templates()
        .get_template("agent.jinja")
        .render(
            prompt=prompt.whole_text,
            paths=[str(PurePosixPath(FOLDER, path)) for path in paths],
            limits=limits,
            is_functions=kind == "functions",
        )
    )
