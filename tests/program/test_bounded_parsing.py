"""Hostile JSON, TOML, YAML and Python are refused with a message, in little time and memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.errors import UsageError
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.bounded_parsing import parse_json, parse_toml, parse_yaml
from overnight.tasks.program.config_layers import script_block, set_by_path
from tests.history.writer import ROOT

LEVELS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
BOMB = f"a0: &a0 [x]\n{LEVELS}"

HOSTILE_YAML = {
    "aliases of aliases": BOMB,
    "merged tables of merged tables": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)),
    "many aliases": f"a: &a 1\nb: [{'*a, ' * 200}]",
    "an alias inside its own node": "&a [*a]",
    "deep lists": "[" * 5000,
    "deep tables": "{a: " * 5000,
    "a number of many digits": "9" * 100_000,
    "a sexagesimal number": "1" + ":1" * 100_000,
    "a number of 65 bits": str(2**64),
    "an invalid date": "2020-99-99",
    "a tag": "!!int ''",
    "a tag of Python": "!!python/object/apply:os.system [id]",
    "a text that is too long": "a" * 2_000_000,
    "a control character": "a\0",
    "a table as a key": "{a: 1}: 2",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", HOSTILE_YAML)
def test_hostile_yaml_is_refused_with_a_message(case: str):
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(HOSTILE_YAML[case])


def test_plain_yaml_is_parsed_with_its_aliases():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: [2.5, yes, null]}") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": [2.5, True, None]},
    }
    assert parse_yaml("") is None


HOSTILE_TOML = {
    "a key of many parts": "a." * 30_000 + "a = 1",
    "a table name of many parts": f"[{'a.' * 30_000}a]",
    "a quoted key of many parts": "' '. " * 30_000 + "a = 1",
    "a key of many parts within a table": f"x = {{{'a.' * 30_000}a = 1}}",
    "deep arrays": "a = " + "[" * 5000,
    "deep tables": "a = " + "{a = " * 5000,
    "a number of many digits": "a = " + "9" * 10_000,
    "a number of 65 bits": f"a = {2**64}",
    "an unterminated string": 'a = "' + '\\"' * 100_000,
    "quotes": "a = " + '"""' * 100_001,
    "a text that is too long": "#" * 2_000_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", HOSTILE_TOML)
def test_hostile_toml_is_refused_with_a_message(case: str):
    with pytest.raises(ValueError, match=r"."):
        parse_toml(HOSTILE_TOML[case])


def test_dots_in_strings_comments_and_numbers_are_not_counted_as_key_parts():
    text = "# a.b" + ".c" * 90 + f'\na = "{"x." * 90}"\nb = [{"0.5, " * 90}]\nc.d = """\n{"x." * 90}"\n"""\n'
    tables = parse_toml(text)
    assert (len(tables["b"]), tables["c"]["d"][:4]) == (90, "x.x.")


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 500 + "]" * 500, "9" * 10_000, f"[{2**63}]", r'"\ud800"', "{"])
def test_hostile_json_is_refused_with_a_message(text: str):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
    with pytest.raises(UsageError):
        set_by_path({}, f"inputs=[{text}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", ["# /// script", "# /// script\n\n\n", "# ///", "#"])
def test_a_text_is_searched_for_script_blocks_in_linear_time(line: str):
    text = "# /// script\n" + f"{line}\n" * 60_000
    with pytest.raises(UsageError):
        script_block(text + "pass\n" + text + "pass\n", "it.py")


@pytest.mark.parametrize(
    "text",
    [
        f"@{'a(' * 80}{')' * 80}\ndef f(): pass\n" + "@funsearch.run\ndef g(n): return -" + "-" * 900 + "n\n",
        "@" + ".".join(["a"] * 3000) + "\ndef f(): pass\n",
        "x = " + "(" * 100_000,
        "x = " + "9" * 10_000,
        "\0",
    ],
)
def test_deeply_nested_python_is_refused_with_a_message(text: str, tmp_path: Path):
    (tmp_path / "deep.py").write_text(text)
    with pytest.raises(UsageError):
        load_problem(tmp_path / "deep.py", {"inputs": [1]})


LOAD = """
import re, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from overnight.schemas.errors import UsageError
from overnight.tasks.problems.loading.load import load_problem
try:
    load_problem(Path(sys.argv[1]))
except UsageError as error:
    print(error.message[:200])
# Not ru_maxrss, which starts at the value of the parent process.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def test_a_yaml_bomb_takes_little_memory(tmp_path: Path):
    files: dict[str, Any] = {"initial_program.py": "x = 1\n", "evaluator.py": "def evaluate(p): pass\n"}
    for name, text in {**files, "config.yaml": BOMB}.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    message, peak_kib = done.stdout.splitlines()
    assert "aliases" in message
    assert int(peak_kib) < 200 * 1024
