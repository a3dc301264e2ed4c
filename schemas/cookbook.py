"""Read the cookbook, `schemas/sql/cookbook.sql`: common questions about the history, with their SQL."""

from __future__ import annotations

from importlib.resources import files


def text() -> str:
    """Return the whole cookbook: each question is a comment, followed by its SQL."""
    return files("schemas.sql").joinpath("cookbook.sql").read_text(encoding="utf-8")


def questions() -> dict[str, str]:
    """Return the SQL of each question, by question."""
    found = {}
    for block in text().split("\n\n"):
        lines = block.strip().splitlines()
        comments = [line for line in lines if line.startswith("-- ")]
        if len(comments) < len(lines):
            question = " ".join(line.removeprefix("-- ") for line in comments)
            found[question] = "\n".join(lines[len(comments) :]).rstrip(";")
    return found
