"""Source as text: renaming leaves strings and attributes alone, hashes see code and not layout."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas import source


def test_renaming_leaves_strings_comments_attributes_and_longer_names():
    text = "f(x)  # f\ny = 'f' + a.f + ff\nf = 3\n"
    assert source.rename(text, {"f": "g"}) == "g(x)  # f\ny = 'f' + a.f + ff\ng = 3\n"


def test_the_hash_agrees_for_layout_and_comments_only():
    assert source.code_hash("return  1+2 # three") == source.code_hash("return (1 + 2)")
    assert source.code_hash("return 1+2") != source.code_hash("return 2+1")


@pytest.mark.parametrize(
    "text", ["(" * 10_000, "x = " + "-" * 100_000 + "1", "\0", "def", "x" * (source.MAX_SOURCE_CHARS + 1), "'\ud800'"]
)
def test_whatever_hostile_text_makes_the_parser_raise_is_one_error(text: str):
    with pytest.raises(source.SourceError):
        source.parse(text)


def test_threads_parse_at_the_same_time():
    text = (Path(__file__).parents[2] / "schemas/source.py").read_text()
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: source.parse(text), range(400)))
