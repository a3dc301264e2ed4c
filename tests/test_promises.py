"""The tables of promises in tests/README.md and of doors in SECURITY.md name tests that exist, at least one a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
README = (TESTS / "README.md").read_text()
SECURITY = (TESTS.parent / "SECURITY.md").read_text()
DOORS = [
    *("problem files", "archives", "histories", "a prompt", "a relay folder"),
    *("the page of a relay folder", "a command", "an agent", "a judge", "a hint", "a plug-in", "a page", "the server"),
]
PROMISES = 13


def functions(path: Path) -> set[str]:
    """Return the names of all functions of a module, those of its classes, too."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("text", [README, SECURITY], ids=["promises", "doors"])
def test_every_test_that_holds_a_promise_exists(text: str):
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)
    assert named
    missing = [f"{path}::{name}" for path, name in named if name not in functions(TESTS / path)]
    assert not missing


def test_every_promise_has_rows_and_every_row_a_test():
    rows = re.findall(r"^\| (\d*) ?\| .* \| (.*) \|$", README.partition("| promise |")[2], re.MULTILINE)
    assert [int(number) for number, _ in rows if number] == list(range(1, PROMISES + 1))
    assert all("::test_" in tests for _, tests in rows)


def test_every_door_has_a_row_and_every_row_a_test():
    table = SECURITY.partition("| door |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| .* \| .* \| (.*) \|$", table, re.MULTILINE)
    assert [door for door, _ in rows] == DOORS
    assert all("::test_" in tests for _, tests in rows)
