"""Questions that people ask of the history, with their SQL; `schemas/sql/cookbook.sql` holds them."""

from __future__ import annotations

from importlib.resources import files


def text() -> str:
    """The whole cookbook: each question is a comment, its SQL follows."""
    return files("schemas.sql").joinpath("cookbook.sql").read_text(encoding="utf-8")


def questions() -> dict[str, str]:
    """The SQL of each question."""
    found = {}
    for block in text().split("\n\n"):
        lines = block.strip().splitlines()
        said = [line for line in lines if line.startswith("-- ")]
        if len(said) < len(lines):
            found[" ".join(line.removeprefix("-- ") for line in said)] = "\n".join(lines[len(said) :]).rstrip(";")
    return found
