"""Files that an agent finds in its folder, and the answer that they are when it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from overnight.schemas.agent_settings import AgentLimits
from overnight.schemas.program import Prompt
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.program.specification import FILE, Specification
from overnight.tasks.sample.codecs import fence_for, templates

FOLDER = "program"
"""Folder of the files that evolve, below the agent's home."""

IDEA = "IDEA.md"
"""File in which an agent may say in a line what it changed."""

EARLIER = "earlier"
"""Folder of what earlier sessions left, below the agent's home."""

FILES_MIB = 512
"""Most that the files of an agent may take, MiB; it has no disk."""

MOST_FILES, MOST_LEFT = 40, 256 * 1024
"""Most files, and characters in them, that are kept of what an agent leaves in its folder."""

_PATH = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*){0,4}", re.ASCII)


@dataclass(frozen=True)
class Room:
    """Room of a session for its work: memory of its container, MiB, programs that may be scored yet, and trials.

    Attributes:
        about: Text of the task about the agent itself.
    """

    memory_mib: int
    evaluations: int
    has_trials: bool
    about: str = ""


def files_of(skeleton: Skeleton, body: str) -> dict[str, str]:
    """Return the files that an agent may change, by path: whole ones, or one with the evolved functions that runs."""
    if isinstance(skeleton, Specification):
        return {FILE: skeleton.standalone_text(body).rstrip("\n") + "\n"}
    return dict(skeleton.program(body).files)


def answer_text(skeleton: Skeleton, files: Mapping[str, str]) -> str:
    """Return files as a model would answer with them: each in a code block, below its path where it is a whole file."""
    blocks = []
    for path, text in files.items():
        fence = fence_for(text)
        path_line = f"{path}\n" if skeleton.kind != "file" else ""
        blocks.append(f"{path_line}{fence}{skeleton.language}\n{text.rstrip()}\n{fence}\n")
    return "\n".join(blocks)


def changed_files(given: Mapping[str, str], now: Mapping[str, object]) -> dict[str, str]:
    """Return the files that differ from those that the agent was given; what it did with others is left out."""
    return {
        path: text for path in given if isinstance(text := now.get(path), str) and text.strip() != given[path].strip()
    }


def task_text(
    prompt: Prompt, skeleton: Skeleton, paths: list[str], earlier: Iterable[str], room: Room, limits: AgentLimits
) -> str:
    """Return the task of an agent.

    Args:
        prompt: What it is told of the problem and of the search.
        skeleton: Fixed part of the problem's programs.
        paths: Files that it may change.
        earlier: Files that earlier sessions left, by their paths in its folder.
        room: Limits of its container and of its evaluations, and whether it may try programs.
        limits: Limits of its session.
    """
    functions, fixed, taken = "", list[str](), list[str]()
    if isinstance(skeleton, Specification):
        functions = skeleton.evolved_parts
        fixed, taken = skeleton.shared_names(skeleton.standalone_text(prompt.base))
    folders = dict.fromkeys("/".join(path.split("/")[:2]) for path in earlier)
    return (
        templates()
        .get_template("agent.jinja")
        .render(
            prompt=prompt.whole_text,
            paths=[str(PurePosixPath(FOLDER, path)) for path in paths],
            functions=functions,
            fixed=fixed,
            taken=taken,
            about=room.about,
            tries=room.has_trials,
            earlier=list(folders),
            seconds=f"{limits.seconds:g}",
            turns=limits.turns,
            evaluations=room.evaluations,
            memory_mib=room.memory_mib,
            files_mib=FILES_MIB,
        )
    )


def kept_files(left: Mapping[str, str]) -> dict[str, str]:
    """Return files that an agent left in its folder, by their paths there: as many as are kept, whatever it says."""
    kept, chars = dict[str, str](), 0
    for path, text in sorted(left.items())[:MOST_FILES]:
        chars += len(text)
        if chars <= MOST_LEFT and _PATH.fullmatch(path) and ".." not in path:
            kept[path] = text
    return kept


def files_left(transcript: str) -> dict[str, str]:
    """Return the files that a session left, by path; none where the transcript is of another form."""
    try:
        data = json.loads(transcript)
    except (ValueError, RecursionError):
        return {}
    files = data.get("files") if isinstance(data, dict) else None
    left = files if isinstance(files, dict) else {}
    return kept_files({path: text for path, text in left.items() if isinstance(text, str)})
