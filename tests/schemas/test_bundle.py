"""The files of a program as one text, and back: nothing else than what was encoded is read."""

from __future__ import annotations

import pytest

from overnight.schemas.bundle import MAX_FILES, ProgramBundle
from overnight.schemas.errors import SpecificationError

TWO = ProgramBundle((("a.py", "x = 1\n"), ("lib/b.py", "=== c.py, 1 lines ===\n")))


def test_a_line_above_each_file_says_how_many_follow():
    assert TWO.encode() == "=== a.py, 2 lines ===\nx = 1\n\n=== lib/b.py, 2 lines ===\n=== c.py, 1 lines ===\n"
    assert ProgramBundle.decode(TWO.encode()) == TWO


def test_people_see_the_only_file_as_it_is_and_several_below_their_paths():
    assert ProgramBundle((("a.py", "x = 1\n"),)).shown == "x = 1\n"
    assert TWO.shown == "# === a.py ===\nx = 1\n\n# === lib/b.py ===\n=== c.py, 1 lines ===\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x = 1",
        "=== a.py, 3 lines ===\nx = 1",
        "=== a.py, 1 lines ===\nx = 1\n",
        "=== a.py, 01 lines ===\nx = 1",
        "=== a.py, 1 lines ===\r\nx = 1",
        "=== a.py, 0 lines ===",
        "=== a.py, 1 lines ===\nx = 1\n=== a.py, 1 lines ===\nx = 2",
        "=== a, 1 lines ===\nx\n=== a/b.py, 1 lines ===\nx",
        "=== ../a.py, 1 lines ===\nx = 1",
        "=== /etc/passwd, 1 lines ===\nx = 1",
        "=== .git/config, 1 lines ===\nx = 1",
        "=== lib/../../a.py, 1 lines ===\nx = 1",
        "=== a\\b.py, 1 lines ===\nx = 1",
        f"=== {'a' * 300}, 1 lines ===\nx = 1",
        "\n".join(f"=== {n}.py, 1 lines ===\n" for n in range(MAX_FILES + 1)),
    ],
)
def test_a_text_that_is_damaged_or_names_an_unsafe_path_is_refused(text: str):
    with pytest.raises(SpecificationError):
        ProgramBundle.decode(text)
