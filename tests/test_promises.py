"""The table of promises in tests/README.md names tests that exist, at least one for each promise."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
README = (TESTS / "README.md").read_text()
PROMISES = 12


def functions(path: Path) -> set[str]:
    """Return the names of all functions of a module, those of its classes, too."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_holds_a_promise_exists():
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", README)
    assert named
    missing = [f"{path}::{name}" for path, name in named if name not in functions(TESTS / path)]
    assert not missing


def test_every_promise_has_rows_and_every_row_a_test():
    rows = re.findall(r"^\| (\d*) ?\| .* \| (.*) \|$", README.partition("| promise |")[2], re.MULTILINE)
    assert [int(number) for number, _ in rows if number] == list(range(1, PROMISES + 1))
    assert all("::test_" in tests for _, tests in rows)
