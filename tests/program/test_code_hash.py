"""Hashes are the same with every supported version of Python: those here were recorded with 3.11, 3.12 and 3.13."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import overnight
from overnight.schemas.code_hash import is_of_older_form
from overnight.tasks.program import python_source
from overnight.tasks.program.meaning import meaning_hash

SEGMENTS = json.loads((Path(__file__).parent / "hashed_segments.json").read_text())
"""Bodies with the first version that has their syntax, and their hashes; that of the meaning is empty if refused."""


@pytest.mark.filterwarnings("ignore:invalid escape")
@pytest.mark.parametrize("segment", SEGMENTS, ids=[one["name"] for one in SEGMENTS])
def test_hashes_are_those_that_other_versions_recorded(segment: dict[str, str]):
    if sys.version_info[:2] < tuple(map(int, segment["since"].split("."))):
        with pytest.raises(python_source.SourceError):
            python_source.code_hash(segment["body"])
    else:
        assert hashes_of(segment["body"]) == [segment["code_hash"], segment["meaning_hash"]]


def test_a_hash_of_an_older_form_is_known_by_its_length():
    assert not is_of_older_form(python_source.code_hash("return 1"))
    assert is_of_older_form("c7d9e3000630b291")
    assert not is_of_older_form(""), "a candidate without a body has none"


_SCRIPT = """
import ast, json, pathlib, sys
from overnight.tasks.program import python_source
from overnight.tasks.program.meaning import meaning_hash

def hashes(text):
    try:
        return python_source.code_hash(text), meaning_hash(text)
    except python_source.SourceError as error:
        return str(error)

for path in sys.argv[1:]:
    text = pathlib.Path(path).read_text()
    functions = python_source.functions(ast.parse(text))
    print(json.dumps([hashes(ast.get_source_segment(text, each)) for each in functions]))
"""
"""Hashes the functions of files. It needs the standard library alone, as its modules of Overnight do."""

LIBRARY = ("calendar", "heapq", "tokenize")


def test_the_standard_library_has_the_same_hashes_with_every_python_of_this_machine():
    paths = [str(Path(random.__file__).parent / f"{module}.py") for module in LIBRARY]
    package = {"PYTHONPATH": str(Path(overnight.__file__).parents[1])}
    said = [
        subprocess.run([python, "-c", _SCRIPT, *paths], env=package, capture_output=True, text=True, check=True).stdout
        for python in pythons()
    ]
    assert said[0].count("\n") == len(LIBRARY)
    assert set(said) == {said[0]}


def pythons() -> list[str]:
    """Return the present version of Python, and the other supported ones that run here."""
    minors = {11, 12, 13} - {sys.version_info.minor}
    names = [name for minor in minors for name in (f"python3.{minor}", f"/usr/bin/python3.{minor}")]
    found = [path for name in names if (path := shutil.which(name))]
    # A name on the path may be that of a version which is not set up.
    runs = [path for path in found if subprocess.run([path, "--version"], check=False).returncode == 0]
    return [sys.executable, *runs]


def hashes_of(body: str) -> list[str]:
    try:
        meaning = meaning_hash(body)
    except python_source.SourceError:
        meaning = ""
    return [python_source.code_hash(body), meaning]
