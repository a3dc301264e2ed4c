"""What a problem needs is read from its scripts' own blocks, and refused where it is no requirement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.dependencies import Dependencies, read_dependencies
from schemas.errors import SpecificationError
from schemas.problem import load_problem, restore_problem


def test_the_needs_of_all_scripts_count_once_each():
    scripts = {
        "a.py": {"dependencies": ["scipy >= 1.16", "numpy"], "requires-python": ">=3.12"},
        "b.py": {"dependencies": ["numpy", "networkx[extra]; python_version > '3'"], "requires-python": "<4"},
        "c.py": {},
    }
    packages = ('networkx[extra]; python_version > "3"', "numpy", "scipy>=1.16")
    assert read_dependencies(scripts) == Dependencies(packages, "<4,>=3.12")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ({"dependencies": "numpy"}, "`dependencies` is 'numpy', expected an array of strings"),
        ({"dependencies": [1]}, "expected an array of strings"),
        ({"dependencies": ["scipy>>1"]}, "a.py: 'scipy>>1' in `dependencies` is no requirement"),
        ({"dependencies": ["--index-url=https://x"]}, "is no requirement"),
        ({"dependencies": [""]}, "is no requirement"),
        ({"requires-python": "3.x"}, "`requires-python` is '3.x'"),
        ({"requires-python": 3.12}, "`requires-python` is 3.12"),
    ],
)
def test_what_is_no_requirement_is_named(script: dict[str, Any], says: str):
    with pytest.raises(SpecificationError, match=says):
        read_dependencies({"a.py": script})


def test_a_directory_needs_what_its_program_and_its_command_need(tmp_path: Path):
    block = "# /// script\n# dependencies = ['{}']\n# ///\n"
    (tmp_path / "climb.py").write_text(block.format("a") + "# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n")
    (tmp_path / "score.py").write_text(block.format("b"))
    (tmp_path / "other.py").write_text(block.format("c"))
    settings = 'files = ["other.py"]\ncommand.evaluate = ["python3", "score.py", "{program}"]\n'
    (tmp_path / "overnight.toml").write_text(settings)
    problem = load_problem(tmp_path)
    assert problem.needs.packages == ("a", "b")
    written = problem.settings.model_dump(mode="json")
    assert restore_problem(problem.name, problem.specification.text, written, problem.files).needs == problem.needs
