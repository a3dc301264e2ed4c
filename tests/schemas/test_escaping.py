"""Invisible characters and control characters are escaped; all other characters are unchanged."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from overnight.schemas.escaping import INVISIBLE, escape_invisible


def test_every_control_format_and_separator_character_of_unicode_is_escaped():
    missing = [
        f"U+{number:04X}"
        for number in range(sys.maxunicode + 1)
        if unicodedata.category(chr(number)) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        and chr(number) not in "\n\t"
        and not INVISIBLE.match(chr(number))
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("character", "escape"),
    [
        ("\x1b", r"\x1b"), ("\r", r"\x0d"), ("\x7f", r"\x7f"), ("\x9b", r"\x9b"), ("\xad", r"\xad"),
        ("\u200b", r"\u200b"), ("\u202e", r"\u202e"), ("\u2066", r"\u2066"), ("\u2028", r"\u2028"),
        ("\u3164", r"\u3164"), ("\ufe0f", r"\ufe0f"), ("\ufeff", r"\ufeff"), ("\udc80", r"\udc80"),
        ("\U000e0041", r"\U000e0041"), ("\U000e0101", r"\U000e0101"),
    ],
)  # fmt: skip
def test_a_character_becomes_its_python_escape(character: str, escape: str):
    assert escape_invisible(f"a{character}b") == f"a{escape}b"
    assert escape_invisible(escape_invisible(character)) == escape, "escaped text is unchanged"


def test_letters_symbols_and_spaces_of_all_languages_are_unchanged():
    text = "def f(x):\n\treturn 'naïve Ω ж 漢字 عربي 🎉 – … “quoted” \u00a0 \u3000'"
    assert escape_invisible(text) == text


def test_marks_on_one_letter_are_escaped_beyond_the_number_that_languages_use():
    assert escape_invisible("o" + "\u0301" * 5000) == "o" + "\u0301" * 8 + "\\u0301" * 4992
    assert escape_invisible("漢字漢字漢字漢字o\u0301\u0323漢字") == "漢字漢字漢字漢字o\u0301\u0323漢字"
    stacked = escape_invisible("é" + "\u20dd" * 20)
    assert escape_invisible(stacked) == stacked
