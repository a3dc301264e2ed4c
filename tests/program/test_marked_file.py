"""Files in any language are read with their marked blocks, and keep the rest."""

from __future__ import annotations

import pytest

from overnight.schemas.errors import SpecificationError
from overnight.tasks.program.marked_file import read_marked

ONE = "int main() {\n  // EVOLVE-BLOCK-START\n  return 1;\n  // EVOLVE-BLOCK-END\n}\n"
TWO = "# EVOLVE-BLOCK-START\na = 1\n# EVOLVE-BLOCK-END\nfixed = 2\n# EVOLVE-BLOCK-START 2\nb = 3\n# EVOLVE-BLOCK-END\n"


def test_the_text_between_the_marks_is_the_body():
    file = read_marked(ONE, "main.c")
    assert (file.start_body, file.language) == ("  return 1;", "c")
    assert file.with_body("  return 2;") == ONE.replace("return 1", "return 2")


def test_several_blocks_are_joined_by_their_marks():
    file = read_marked(TWO, "two.py")
    assert file.start_body == "a = 1\n# EVOLVE-BLOCK-END\n# EVOLVE-BLOCK-START 2\nb = 3"
    assert file.with_body(file.start_body.replace("a = 1", "a = 9")) == TWO.replace("a = 1", "a = 9")


def test_without_marks_the_whole_file_evolves():
    file = read_marked("echo 1\n", "run.sh")
    assert (file.start_body, file.with_body("echo 2")) == ("echo 1", "echo 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\n# EVOLVE-BLOCK-START\ny\n", "mine.py:2: EVOLVE-BLOCK-START without an EVOLVE-BLOCK-END"),
        ("# EVOLVE-BLOCK-END\n", "mine.py:1: EVOLVE-BLOCK-END without a EVOLVE-BLOCK-START"),
        ("# EVOLVE-BLOCK-START\n# EVOLVE-BLOCK-START\n", "mine.py:2: the block begun in line 1"),
    ],
)
def test_marks_that_do_not_alternate_are_refused_with_their_line(text: str, message: str):
    with pytest.raises(SpecificationError, match=message):
        read_marked(text, "mine.py")
