"""Every command on a finished run: data on stdout, messages on stderr, and exit codes for scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.flows.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("plain")


def test_a_night_ends_with_a_table_the_function_and_the_next_commands(
    finished_history: tuple[Path, str], overnight: Command
):
    run_id = finished_history[1]
    done = overnight("resume", run_id, "--generations", "1")
    assert done.returncode == 0, done.stderr
    assert "start program" in done.stdout
    assert "best program" in done.stdout
    assert "def guess(offset: int) -> float:" in done.stdout
    for command in ("overnight resume", "overnight show", "overnight best", "overnight sql"):
        assert command in done.stderr
    assert "stopped by: generations" in done.stderr
    assert re.search(
        r"continuing: \S+; limits of this night: generations 1; of the last one: (generations|max samples) \d+\n",
        done.stderr,
    )


def test_show_prints_one_program(overnight: Command):
    row = json.loads(overnight("sql", "FROM programs WHERE generation = 2 LIMIT 1", "--format", "jsonl").stdout)
    done = overnight("show", row["program_id"][:10], "--prompt")
    assert done.returncode == 0
    for part in (row["outcome"], row["model"], "prompt", "completion"):
        assert part in done.stdout


def test_show_without_a_program_is_of_the_best_of_the_newest_run(overnight: Command):
    best = json.loads(overnight("best", "last", "--format", "json").stdout)["program_id"]
    assert json.loads(overnight("show", "--format", "json").stdout)["program_id"] == best
    assert overnight("show", "--why").stdout == overnight("show", "last", "--why").stdout != ""


def test_prompt_prints_what_made_a_program_and_says_where_none_did(overnight: Command):
    row = json.loads(overnight("sql", "FROM programs WHERE generation = 2 LIMIT 1", "--format", "jsonl").stdout)
    done = overnight("prompt", "--of", row["program_id"])
    assert done.stdout.rstrip("\n") == row["prompt"].rstrip("\n")
    start = json.loads(overnight("sql", "FROM programs WHERE generation = 0", "--format", "jsonl").stdout)
    refused = overnight("prompt", "--of", start["program_id"])
    assert refused.returncode == 2
    assert "no model was asked" in refused.stderr
    assert overnight("prompt").returncode == 2


def test_problems_shows_known_scores(overnight: Command):
    done = overnight("problems")
    for part in ("bin-packing-or", "bin-packing-weibull", "cap-set", "512"):
        assert part in done.stdout


def test_check_shows_scores_seconds_memory_and_whether_two_runs_agree(overnight: Command, toy: Path):
    done = overnight("check", "--without-pace", str(toy))
    assert done.returncode == 0, done.stderr
    assert "two runs agree" in done.stderr
    assert "run again, in a fresh container, it scores the same" in done.stderr
    for part in ("MiB", "limit 2 s"):
        assert part in done.stderr
    assert "seconds" in done.stdout


def test_check_warns_when_two_runs_do_not_agree(overnight: Command, toy: Path, tmp_path: Path):
    unsteady = tmp_path / "unsteady.py"
    unsteady.write_text(toy.read_text().replace("return offset + 1.0", "import time\n    return time.time_ns() % 1e9"))
    done = overnight("check", "--without-pace", str(unsteady))
    assert done.returncode == 2
    warning, following = done.stderr.splitlines()[-2:]
    assert warning.startswith("warning: train: two runs do not agree")
    assert "--set noise=" in warning
    assert following.startswith("next: look at the warnings, then overnight run")
    assert "nothing is missing" not in done.stderr


def test_check_proposes_limits_and_prints_omissions(overnight: Command, toy: Path, tmp_path: Path):
    slow = tmp_path / "slow.py"
    slow.write_text(toy.read_text().replace("return offset + 1.0", "import time\n    time.sleep(0.11)\n    return 1.0"))
    done = overnight("check", "--without-pace", str(slow), "--set", "sandbox.slots=3", "--set", "sandbox.confirm=best")
    assert done.returncode == 0, done.stderr
    # 2 s, or more on a machine that is busy.
    proposed = r"# \[tool\.overnight\.limits\]\n# wall_s = (\d+)\n# cpu_s = [\d.]+\n# memory_mib = 64\n\Z"
    found = re.search(proposed, done.stdout)
    assert found, done.stdout
    assert "missing, but not required: validation inputs" in done.stderr
    assert "; held-out inputs" in done.stderr
    pasted = re.sub(r"# \[tool\.overnight\.limits\]\n(# \w+ = .*\n)+", found[0], slow.read_text())
    slow.write_text(pasted)
    assert f"limit {found[1]} s per input" in overnight("check", "--without-pace", str(slow)).stderr


def test_doctor_prints_each_check_and_fails_if_one_fails(overnight: Command):
    done = overnight("doctor", "--fix")
    assert done.returncode == 0, done.stdout
    assert re.search(r"the sandbox image overnight-sandbox:[0-9a-f]{12} is ready", done.stderr)
    for check in ("engine", "image", "prefect", "keys", "disk"):
        assert check in done.stdout
    without_key = overnight("doctor", "--model", "groq/some-model")
    assert without_key.returncode == 3
    assert "GROQ_API_KEY" in without_key.stdout
    without_engine = overnight("doctor", OVERNIGHT_CONFIG="/nowhere.toml", DOCKER_HOST="unix:///nowhere.sock")
    assert without_engine.returncode == 3
    assert "Start it, or install one" in without_engine.stdout
