"""Speeds of machines: what `check --cluster` shows, and limits that follow them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from flows.cluster.choice import VARIABLE
from flows.cluster.open_cluster import open_cluster
from flows.cluster.speeds import remark
from schemas.job import Limits
from schemas.outcome import Outcome, Verdict
from tasks.problems.loading.load import load_problem
from tests.flows.conftest import Call
from tests.machines import SLUGGISH, Machines

HEAD = Verdict(Outcome.SCORED, (1.0,), cpu_s=1.0, input_wall_s=(0.5, 0.5))
SLOWER = Verdict(Outcome.SCORED, (1.0,), cpu_s=2.0, input_wall_s=(1.0, 1.2))


@pytest.mark.parametrize(
    ("verdict", "limits", "said"),
    [
        (SLOWER, Limits(wall_s=4), ""),
        (SLOWER, Limits(wall_s=3), "the limit of 3 s is tight: an input takes 1.2 s"),
        (SLOWER, Limits(wall_s=3, scale_by_speed=True), ""),
        (SLOWER, Limits(wall_s=4, cpu_s=5), "the limit of 5 s of processor time is tight"),
        (Verdict(Outcome.SCORED, (2.0,)), Limits(), "its scores differ from those here"),
        (Verdict(Outcome.TIMED_OUT, error="took too long"), Limits(), "timed_out: took too long"),
        (Verdict(Outcome.SANDBOX_ERROR, error="no engine"), Limits(), "not used: no engine"),
    ],
    ids=["enough", "tight", "longer there", "little processor time", "other scores", "timed out", "no engine"],
)
def test_what_to_know_about_a_machine_is_remarked(verdict: Verdict, limits: Limits, said: str):
    assert remark(verdict, HEAD, limits) == said


@pytest.mark.docker
def test_check_shows_the_start_program_on_each_machine_and_here(call: Call, toy: Path, cluster: Machines):
    cluster.join("one", 3)
    cluster.join("other")
    code, said = call("check", toy, "--cluster", cluster.address)
    assert code == 0, said
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()[:1] in (["one"], ["other"])}
    assert (rows["one"][0], rows["other"][0]) == ("3", "1")
    assert "this machine" in said
    assert f"--cluster {cluster.address} --generations" in " ".join(said.split())
    _, said = call("check", toy, "--cluster", cluster.address, "--format", "json")
    found = json.loads(said.splitlines()[0])
    assert {each["machine"]: each["slots"] for each in found["machines"][1:]} == {"one": 3, "other": 1}


@pytest.mark.docker
def test_check_without_the_flag_asks_no_cluster(call: Call, toy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "tls://127.0.0.1:1")
    code, said = call("check", toy)
    assert code == 0, said
    assert "each machine" not in said


@pytest.mark.docker
def test_check_of_a_cluster_without_machines_says_how_one_joins(call: Call, toy: Path, cluster: Machines):
    code, said = call("check", toy, "--cluster", cluster.address)
    assert code == 3, said
    assert "overnight worker ADDRESS" in said


@pytest.mark.docker
@pytest.mark.parametrize(
    ("scale_by_speed", "outcome"),
    [(True, Outcome.SCORED), (False, Outcome.TIMED_OUT)],
    ids=["scaled", "as given"],
)
def test_a_slow_machine_has_longer_limits_if_they_follow_its_speed(
    toy: Path, cluster: Machines, sandbox_image: str, scale_by_speed: bool, outcome: Outcome
):
    cluster.join("slow", program=SLUGGISH)
    limits = {"wall_s": 1, "scale_by_speed": scale_by_speed}
    problem = load_problem(toy, {"limits": limits, "sandbox": {"image": sandbox_image}, "inputs": [1]})
    notes: list[str] = []
    with open_cluster(notes.append) as opened:
        assert opened is not None
        with contextlib.closing(opened.pool(problem, "train", seed=0, run_id="speed-test")) as pool:
            verdict = pool.evaluate(problem.specification.program("import time\ntime.sleep(1.5)\nreturn 1.0"))
    assert (verdict.outcome, verdict.machine) == (outcome, "slow"), verdict
    assert [note for note in notes if "4.00 times" in note] == notes[:1] if scale_by_speed else not notes
