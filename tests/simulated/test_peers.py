"""Other systems search the same problems; all answers that they get count, and their own evaluations are the scores."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.simulated import peers
from tests.bench.simulated.landscape import Design
from tests.bench.simulated.model import SimulatedModel
from tests.bench.simulated.peer_tasks import write_openevolve, write_shinka
from tests.bench.simulated.peers import PEERS, Calls, Evaluation, PeerTask, read_evaluations, run_peer, trace_of
from tests.bench.simulated.personas import persona_of
from tests.bench.simulated.problems import problem_named

MODEL = SimulatedModel(replace(persona_of(1), valid=1.0, slope=1.0, power=0.0, bad_edits=0.0, reasoning_tokens=0))
PROBLEM = problem_named("F4-k1")

SYSTEM = """
import json, re, sys, urllib.request
sys.path.insert(0, {folder!r})
import evaluate
program = {folder!r} + "/initial.py"
evaluate.judged(program)
for k in range({most}):
    asked = "The current program:\\n\\n```python\\n" + open(program).read() + "```\\nImprove it."
    body = json.dumps({{"model": "m", "messages": [{{"role": "user", "content": asked}}]}}).encode()
    for path, body in (("embeddings", json.dumps({{"input": asked}}).encode()), ("chat/completions", body)):
        request = urllib.request.Request({base!r} + "/" + path, body, {{"Content-Type": "application/json"}})
        answer = json.load(urllib.request.urlopen(request))
    child = {folder!r} + "/child.py"
    code = re.search("```python\\n(.*)```", answer["choices"][0]["message"]["content"], re.DOTALL)[1]
    open(child, "w").write(code)
    if evaluate.judged(child)[0] > evaluate.judged(program)[0]:
        open(program, "w").write(code)
"""
"""A system that improves the best program."""


def a_system(task: PeerTask, most: int = 1000) -> list[str]:
    write_shinka(task.problem, task.folder, task.log)
    return ["-c", SYSTEM.format(folder=str(task.folder), base=task.api_base, most=most)]


def test_a_search_of_another_system_is_followed_and_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PEERS, "other", a_system)
    found = run_peer("other", sys.executable, PROBLEM, MODEL, 0, 12, 60.0)
    assert len(found.gaps) == 12
    assert not found.ended_early
    assert found.gaps[-1] < found.gaps[0]
    assert sorted(found.gaps, reverse=True) == found.gaps.tolist()
    assert found.tokens[0] > 500
    assert found.repeated_share(12) > 0.5  # it evaluates the best program again and again


def test_the_tuner_is_tried_on_the_best_program_of_another_system(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PEERS, "other", a_system)
    found = run_peer("other", sys.executable, problem_named("F2-c2"), MODEL, 0, 6, 60.0)
    assert found.tuned < 0.8 * found.gaps[-1]


def test_a_search_that_ends_early_says_so_and_one_without_answers_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(PEERS, "other", lambda task: a_system(task, most=3))
    found = run_peer("other", sys.executable, PROBLEM, MODEL, 0, 12, 60.0)
    assert (len(found.gaps), found.ended_early) == (3, True)
    monkeypatch.setitem(PEERS, "other", lambda task: ["-c", "raise SystemExit('no such model')"])
    with pytest.raises(RuntimeError, match="no such model"):
        run_peer("other", sys.executable, PROBLEM, MODEL, 0, 12, 60.0)


def test_a_search_that_takes_too_long_is_ended_with_what_it_started(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peers, "_POLL_S", 0.01)
    monkeypatch.setitem(PEERS, "other", lambda task: ["-c", "import subprocess as s; s.run(['sleep', '60'])"])
    with pytest.raises(RuntimeError, match="asked the model for nothing"):
        run_peer("other", sys.executable, PROBLEM, MODEL, 0, 12, 0.2)


def test_every_answer_counts_and_embeddings_do_not():
    calls, asked = (
        Calls(MODEL, 3),
        {"model": "m", "messages": [{"role": "user", "content": PROBLEM.source(PROBLEM.start)}]},
    )
    assert calls.answer(0, {"input": "a program"}).status == 200
    assert calls.answer(1, {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).status == 400
    assert not calls.times
    calls.answer(2, asked)
    calls.answer(3, {**asked, "n": 2})
    assert (len(calls.times), calls.tokens[1]) == (3, calls.tokens[2])
    assert calls.answer(4, asked).hang


def test_a_score_belongs_to_the_last_answer_before_it():
    low, high = PROBLEM.start_score, PROBLEM.optimum
    middle, fails = (low + high) / 2, float("nan")
    evaluations = [(0.5, "start", low), (2.5, "a", middle), (3.5, "x", fails), (4.1, "a", middle), (4.2, "b", high)]
    found = trace_of(PROBLEM, [1, 2, 3, 4], [10, 20, 30, 40], (Evaluation(*one) for one in evaluations), 4, 1.0)
    assert found.gaps.tolist() == pytest.approx([1.0, 0.5, 0.5, 0.0])
    assert (found.unscored_share(4), found.repeated_share(4)) == (0.25, 0.25)
    assert (found.unscored_share(3), found.answers_to(0.1, 4)) == (pytest.approx(2 / 3), 4)


def test_what_an_evaluator_wrote_is_read_but_for_a_line_that_it_is_writing():
    assert read_evaluations("1.5 abc 2.0\n2.5 - nan\n3.0 ab")[0] == Evaluation(1.5, "abc", 2.0)
    assert len(read_evaluations("1.5 abc 2.0\n2.5 - nan\n3.0 ab")) == 2
    assert read_evaluations("") == []


def wrong_pair() -> str:
    first, one, second, other = PROBLEM.landscape.pairs[0]
    choices = list(PROBLEM.best.choices)
    choices[first], choices[second] = one, other
    return PROBLEM.source(Design(tuple(choices)))


def test_shinka_s_evaluator_tells_it_shifted_scores_and_which_programs_are_wrong(tmp_path: Path):
    write_shinka(PROBLEM, tmp_path, tmp_path / "log")
    results = []
    for source in (PROBLEM.source(PROBLEM.best), wrong_pair()):
        (tmp_path / "program.py").write_text(source)
        command = [sys.executable, "-S", "evaluate.py", "--program_path", "program.py", "--results_dir", "out"]
        subprocess.run(command, cwd=tmp_path, check=True)
        results.append([json.loads((tmp_path / "out" / name).read_text()) for name in ("metrics.json", "correct.json")])
    (best, right), (failed, wrong) = results
    offset, scale = PROBLEM.landscape.offset, PROBLEM.landscape.scale
    assert best["combined_score"] == pytest.approx(PROBLEM.optimum - offset + scale)
    assert (right["correct"], failed["combined_score"], wrong["correct"]) == (True, 0.0, False)
    assert "do not work together" in wrong["error"]
    assert read_evaluations((tmp_path / "log").read_text())[0].score == PROBLEM.optimum


def test_openevolve_s_evaluator_gives_it_the_error_as_an_artifact(tmp_path: Path):
    write_openevolve(PROBLEM, tmp_path, tmp_path / "log", {"api_base": "http://127.0.0.1:1/v1"}, 7)
    (tmp_path / "openevolve").mkdir()
    (tmp_path / "openevolve" / "evaluation_result.py").write_text("def EvaluationResult(*parts):\n    return parts\n")
    (tmp_path / "program.py").write_text(wrong_pair())
    code = "import json, evaluator; print(json.dumps(evaluator.evaluate('program.py')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    metrics, artifacts = json.loads(done.stdout)
    assert metrics == {"combined_score": 0.0}
    assert "do not work together" in artifacts["stderr"]
    config = json.loads((tmp_path / "config.yaml").read_text())
    assert (config["random_seed"], config["llm"]["api_base"]) == (7, "http://127.0.0.1:1/v1")


@pytest.mark.parametrize("name", ["openevolve", "shinka"])
def test_commands_name_the_task_the_model_and_as_many_steps_as_answers(name: str, tmp_path: Path):
    task = PeerTask(PROBLEM, tmp_path / "task", tmp_path / "log", "http://127.0.0.1:1/v1", 3, 40)
    words = PEERS[name](task)
    assert words[0] == "-m"
    assert "40" in words
    named = " ".join(words) + "".join(path.read_text() for path in task.folder.glob("config.yaml"))
    assert "http://127.0.0.1:1/v1" in named
    assert any(path.name.startswith("initial") for path in task.folder.iterdir())
