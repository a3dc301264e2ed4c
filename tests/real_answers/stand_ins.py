"""Tiny repositories with the layouts of the public ones; every text in them was written for these tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

HEAD = '"""A stand-in."""\n# EVOLVE-BLOCK-START\n'
TAIL = "# EVOLVE-BLOCK-END\n\n\ndef run():\n    return f()\n"
PARENT = HEAD + "def f():\n    return 1\n\n" + TAIL
CHILD = PARENT.replace("return 1", "return 2")
GRANDCHILD = PARENT.replace("return 1", "return 3")
EDIT = "<DIFF>\n<<<<<<< SEARCH\n    return 1\n=======\n    return 2\n>>>>>>> REPLACE\n</DIFF>\n"
RUN = "sresults/shinka_prism_gpt5_run1_20260101/2026.01.01"
EVALUATOR = """
import importlib.util


def evaluate(path):
    spec = importlib.util.spec_from_file_location("program", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {"combined_score": float(module.run())}
"""


def _summary(number: int, *, is_correct: bool) -> str:
    return f"**Program Identifier:** Generation {number} - Patch Name toy - Correct Program: {is_correct}\n"


SHINKA = {
    f"{RUN}/gen_0/main.py": PARENT,
    f"{RUN}/gen_1/original.py": PARENT,
    f"{RUN}/gen_1/search_replace.txt": EDIT,
    f"{RUN}/gen_1/main.py": CHILD,
    # An answer whose edit did not apply is left beside the one that became the child, a file without its last mark.
    f"{RUN}/gen_2/original.py": CHILD,
    f"{RUN}/gen_2/search_replace.txt": EDIT.replace("return 1", "return 7"),
    f"{RUN}/gen_2/rewrite.txt": (HEAD + "def f():\n    return 3").strip(),
    f"{RUN}/gen_2/main.py": GRANDCHILD,
    f"{RUN}/meta_memory.json": json.dumps(
        {"meta_summary": _summary(0, is_correct=True) + _summary(1, is_correct=True) + _summary(2, is_correct=False)}
    ),
    "openevolve_examples/prism/evaluator.py": EVALUATOR,
    "examples/prism/initial.py": PARENT,
}


def _program(name: str, code: str, answer: str = "", parent: str = "", **metrics: object) -> str:
    prompts = (
        {"full_rewrite_user": {"system": "Pack.", "user": "Improve it.", "responses": [answer]}} if answer else None
    )
    row = {"id": name, "code": code, "parent_id": parent or None, "metrics": metrics, "iteration_found": int(name)}
    known = {"parent_metrics": {"validity": 1.0, "sum_radii": 1.5}} if parent else {}
    return json.dumps({**row, "metadata": known, "prompts": prompts})


_CHECKPOINTS = "examples/circle_packing/openevolve_output/checkpoints"
_CUT = f"```python\n{HEAD}def f():\n    return (\n"
OPENEVOLVE = {
    f"{_CHECKPOINTS}/checkpoint_10/programs/0.json": _program("0", PARENT, validity=1.0, sum_radii=1.5),
    f"{_CHECKPOINTS}/checkpoint_10/programs/1.json": _program(
        "1", CHILD, f"Here:\n```python\n{CHILD}```\n", "0", validity=1.0, sum_radii=2.5
    ),
    f"{_CHECKPOINTS}/checkpoint_20/programs/1.json": _program("1", CHILD, validity=1.0, sum_radii=2.5),
    f"{_CHECKPOINTS}/checkpoint_20/programs/2.json": _program("2", _CUT, _CUT, "1", validity=0.0, error="execution"),
    f"{_CHECKPOINTS}/checkpoint_20/programs/3.json": "not JSON",
}

_RESULTS = "examples/toy/results"
EOH = {
    f"{_RESULTS}/samples/samples_1~2.json": json.dumps(
        [
            {"sample_order": 1, "operator": "i1", "algorithm": "one", "code": "def g(): pass", "objective": 4.0},
            {"sample_order": 2, "operator": "e1", "algorithm": None, "code": None, "objective": None},
        ]
    ),
    **{
        f"docs/Results/Prob1_OnlineBinPacking/run1/population_generation_{number}.json": json.dumps(
            [{"algorithm": "two", "code": "def score(): pass", "objective": 0.5}]
        )
        for number in (0, 1)
    },
}

LEVI = {
    "examples/toy/result_snapshot.json": json.dumps(
        {
            "run_state": {"eval_count": 3},
            "score_history": [
                {"eval_number": 1, "score": 1.0, "accepted": True, "sampler": "softmax_T0.3"},
                {"eval_number": 3, "score": 0.5, "accepted": False, "sampler": "softmax_T1.0"},
            ],
            "elites": [{"program_id": "x", "primary_score": 1.0, "code": "def f(): pass"}],
        }
    )
}
CLONES = {"ShinkaEvolve": SHINKA, "MyOpenEvolve": OPENEVOLVE, "EoH": EOH, "levi": LEVI}


def write_clone(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a repository with one commit."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "A stand-in"]):
        identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
        subprocess.run(["git", "-C", str(folder), *identity, *command], check=True)
    return folder
