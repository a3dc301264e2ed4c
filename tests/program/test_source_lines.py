"""Lines are those of Python's parser, and string literals with escapes keep their values."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.program.source_lines import escape_strings, indent, split_lines


@given(st.text(st.sampled_from("ab \t\n\r\f\v\x1c\x85\u2028\u2029")))
def test_lines_end_where_the_parser_ends_them_and_make_up_the_text(text: str):
    assert "".join(split_lines(text, keepends=True)) == text
    expected = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    assert split_lines(text) == (expected if text else [])


@given(st.text(st.sampled_from("ab \t\n\u2028")))
def test_only_lines_that_are_not_blank_are_indented(text: str):
    expected = "".join("  " * bool(line.strip()) + line for line in split_lines(text, keepends=True))
    assert indent(text, "  ") == expected


PIECES = ["a", "  b", "\n", "\t", "\\n", "\\\\", "\\\n", "\\\t", "'", "#", "{{", "}}", "\u2028", "\f"]


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@given(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.sampled_from(["", "r", "b", "rb", "f", "rf", "F"]),
    st.sampled_from(['"""', "'''"]),
)
def test_a_literal_with_escapes_has_its_value_on_one_line(content: str, prefix: str, quote: str):
    text = f"x = {prefix}{quote}{content}{quote}\n"
    try:
        expected = ast.dump(ast.parse(text))
    except SyntaxError:
        return
    escaped = escape_strings(text)
    assert ast.dump(ast.parse(escaped)) == expected
    assert escaped.count("\n") == 1 or prefix == "rf"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""Doc\n\tstring."""\nx = "a\tb"\n', '"""Doc\n\tstring."""\nx = "a\\tb"\n'),
        ('f(f"""a\n{n + 1:>3}""", """b\n""" "\t")\n', 'f(f"""a\\n{n + 1:>3}""", """b\\n""" "\\t")\n'),
        ("x = 'a\tb'\ny = '''never ended\n", "x = 'a\\tb'\ny = '''never ended\n"),
        ("x\t= 1\t# 'a\tb'\n", "x\t= 1\t# 'a\tb'\n"),
        ('x = f"""{n +\n1}"""\n', 'x = f"""{n +\n1}"""\n'),  # an expression takes no escapes
    ],
)
def test_only_strings_that_are_values_change(text: str, expected: str):
    assert escape_strings(text) == expected
