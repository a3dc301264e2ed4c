"""Lines are those of Python's parser."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.source_lines import indent, split_lines


@given(st.text(st.sampled_from("ab \t\n\r\f\v\x1c\x85\u2028\u2029")))
def test_lines_end_where_the_parser_ends_them_and_make_up_the_text(text: str):
    assert "".join(split_lines(text, keepends=True)) == text
    expected = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    assert split_lines(text) == (expected if text else [])


@given(st.text(st.sampled_from("ab \t\n\u2028")))
def test_only_lines_that_are_not_blank_are_indented(text: str):
    expected = "".join("  " * bool(line.strip()) + line for line in split_lines(text, keepends=True))
    assert indent(text, "  ") == expected
