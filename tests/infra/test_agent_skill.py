"""The skill file for coding agents: its commands run as they are written, and say what it tells."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conftest import QUICK
from tests.page_commands import programs_in, shortened

SKILL = Path(__file__).parents[2] / "infra" / "agent" / "SKILL.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", SKILL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run_all(folder: Path) -> dict[str, Any]:
    """Run each command in a folder, nights cut short; return what it printed, where JSON is parsed."""
    places = [programs_in(folder.parent), Path(sys.executable).parent, os.environ["PATH"]]
    path = os.pathsep.join(map(str, places))
    environment = {**os.environ, **QUICK, "PATH": path}
    found: dict[str, Any] = {}
    for line in "".join(blocks()).splitlines():
        done = subprocess.run(
            ["bash", "-c", shortened(line, "")],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        text = done.stdout or (folder / "progress.jsonl").read_text() if " run " in line else done.stdout
        found[line] = [json.loads(each) for each in text.splitlines()] if "json" in line else text
    return found


def answer(answers: dict[str, Any], begin: str) -> Any:
    return next(lines for command, lines in answers.items() if command.startswith(f"overnight {begin}"))


def test_every_command_of_the_skill_runs_and_says_what_it_tells(tmp_path: Path):
    folder = tmp_path / "agent"
    folder.mkdir()
    answers = run_all(folder)
    assert len(answers) == 10
    assert (folder / "best.py").read_text().count("@funsearch.evolve") == 1
    require_check(answer(answers, "check"))
    require_run(answer(answers, "run"))
    (best,) = answer(answers, "best last --format json")
    assert best["code"].startswith("def priority")
    assert best["score"] >= best["start_score"]
    assert answer(answers, "doctor")[0][0]["is_ok"]
    assert {problem["origin"] for problem in answer(answers, "problems")[0]} >= {"FunSearch, Nature 2023"}


def require_check(lines: list[Any]) -> None:
    """Require scores, limits and the next command."""
    (found,) = lines
    assert found["results"]["train"]["scores"]
    assert found["proposed_limits"]["wall_s"] >= 1
    assert found["next"].startswith("overnight run mine.py --inputs '[5]'")


def require_run(lines: list[Any]) -> None:
    """Require the id of the run, each generation, and the end of the night."""
    first, *generations, last = lines
    assert (first["event"], last["event"]) == ("run", "night")
    assert [line["event"] for line in generations] == ["generation"] * len(generations)
    assert [line["generation"] for line in generations] == list(range(1, len(generations) + 1))
    assert (last["samples"], last["stop_reason"]) == (4, "generations")
    assert sum(generations[-1]["outcomes"].values()) == 4
    assert last["best_score"] >= first["start_score"]
