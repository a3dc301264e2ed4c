"""Code that does not read as it runs has a warning, and honest code in any language has none."""

from __future__ import annotations

import pytest

from overnight.tasks.report.code_view import diff_lines, highlighted, unified_diff, warning

MISLEADING = {
    "reversed": ("if user != 'a\u202e # no\u2066':\n    pass", "line 1 holds U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    "an invisible name": ("x = 1\nx\u3164 = 2", "line 2 holds U+3164 (HANGUL FILLER)"),
    "a hidden space": ("s = 'a\u200bb'", "U+200B (ZERO WIDTH SPACE)"),
    "tags": ("# \U000e0041", "U+E0041 (TAG LATIN CAPITAL LETTER A)"),
    "a line that returns": ("x = 1\r# y = 2", "U+000D (a control character)"),
    "a command to a terminal": ("s = '\x1b[8m'", "U+001B (a control character)"),
    "a Cyrillic a": ("sc\u0430le = 1", "the name sc\u0430le is not scale, which it looks like"),
    "a whole word": ("\u0440\u0430 = 1", "is not pa, which it looks like"),
    "a mathematical x": ("\U0001d431 = 1", "runs as x"),
    "a ligature": ("\ufb01le = 1", "runs as file"),
    "two scripts": ("va\u043bue = 1", "mixes letters of Latin and Cyrillic"),
    "no Python": ("sc\u0430le = (", "is not scale"),
}


@pytest.mark.parametrize(("code", "reason"), MISLEADING.values(), ids=MISLEADING)
def test_misleading_code_has_a_warning(code: str, reason: str):
    assert warning(code).startswith("this code does not read as it runs: line")
    assert reason in warning(code)
    assert reason in highlighted(code).warning


@pytest.mark.parametrize(
    "code",
    ["", "x = 1\n\ty = 2", "Δt = α * β_1  # größer", "s = 'привет'  # оса", "π = 3\nµ = 1\nрезультат = 2", "x = ("],
)
def test_honest_code_has_no_warning(code: str):
    assert warning(code) == ""


def test_a_warning_lists_only_the_first_few_reasons():
    assert "; and 7 more" in warning("\n".join(["x = '\u202e'"] * 12))


def test_the_page_shows_hidden_characters():
    assert "\\u202e" in highlighted("x = '\u202e'").html
    assert "\u202e" not in str(diff_lines("x = 1", "x = '\u202e'"))


def test_a_difference_keeps_every_character_of_a_line():
    lines = unified_diff("a\u2028b\rc\x0cd\nsame\n", "e\nsame\n")
    assert lines[3:] == ["-a\u2028b\rc\x0cd", "+e", " same"]
    assert unified_diff("", "a\n")[2:] == ["@@ -0,0 +1 @@", "+a"]
