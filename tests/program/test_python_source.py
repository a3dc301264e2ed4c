"""Renaming keeps strings and attributes; hashes ignore layout; hostile source is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overnight.tasks.program import python_source


def test_renaming_keeps_strings_comments_attributes_and_longer_names():
    text = "f(x)  # f\ny = 'f' + a.f + ff\nf = 3\n"
    assert python_source.rename(text, {"f": "g"}) == "g(x)  # f\ny = 'f' + a.f + ff\ng = 3\n"


def test_what_another_module_has_word_for_word_is_left_out():
    one = "import math\n\n\n# mine\ndef f():\n    return 1\n\n\ndef g():\n    return 2"
    assert python_source.without_same(one, "x = 3\n\ndef g():\n    return 2\n") == one.partition("\n\n\ndef g")[0]
    assert python_source.without_same(one, "def g():\n    return 3") == one
    assert python_source.without_same(one, "def g(") == one, "it does not parse"


def test_the_hash_ignores_only_layout_and_comments():
    assert python_source.code_hash("return  1+2 # three") == python_source.code_hash("return (1 + 2)")
    assert python_source.code_hash("return 1+2") != python_source.code_hash("return 2+1")


@pytest.mark.parametrize(
    "text",
    ["(" * 10_000, "x = " + "-" * 100_000 + "1", "\0", "def", "x" * (python_source.MAX_SOURCE_CHARS + 1), "'\ud800'"],
)
def test_every_exception_of_the_parser_becomes_a_source_error(text: str):
    with pytest.raises(python_source.SourceError):
        python_source.parse(text)


def test_threads_can_parse_at_the_same_time():
    text = (Path(__file__).parents[2] / "tasks/program/python_source.py").read_text()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: python_source.parse(text), range(100)))
