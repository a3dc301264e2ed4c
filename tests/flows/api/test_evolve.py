"""Nights that are run from Python: the run that comes out, what is told meanwhile, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import overnight
from overnight.tasks.history.run_lock import is_under_way
from tests.accidents import wait_until
from tests.command_server import start_script
from tests.conftest import QUICK

TARGET = 10.0


class Enough(Exception):
    """Ends a night from its callback."""


def guess(offset: int) -> float:
    """Return a number."""
    return offset + 1.0


def score(offset: int) -> float:
    """Minus the distance from a number."""
    return -abs(guess(offset) - TARGET - offset)


@pytest.mark.usefixtures("on_processes")
def test_functions_are_improved_and_the_night_tells_of_it(tmp_path: Path):
    generations, bests = list[overnight.Generation](), list[overnight.Program]()
    run = overnight.evolve(
        start=guess,
        score=score,
        inputs=[0, 1],
        held_out=[5],
        model="builtin/mutate",
        generations=2,
        seed=3,
        settings={"search.prompts": 4, "search.samples": 4},
        history=tmp_path / "history",
        on_generation=generations.append,
        on_best=bests.append,
        progress=False,
    )
    assert (run.seed, run.generations, run.stop_reason) == (3, 2, "generations")
    assert [each.number for each in generations] == [1, 2]
    assert generations[-1].samples == run.samples == 32
    assert generations[-1].best_score == run.best.score > run.start.score
    assert bests[-1].id == run.best.id
    assert run.best.held_out is not None
    more = run.resume(generations=1, progress=False)
    assert (more.id, more.generations) == (run.id, 3)
    assert more.retry(progress=False).generations == 3, "nothing was given up"


@pytest.mark.usefixtures("on_processes")
def test_ctrl_c_ends_a_night_after_the_generation_under_way(tmp_path: Path, slow_toy: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import overnight, sys\n"
        "run = overnight.evolve(sys.argv[1], model='builtin/mutate', history=sys.argv[2], progress=False,\n"
        "    on_generation=lambda each: print('generation', each.number, flush=True))\n"
        "print(run.stop_reason, run.generations)\n"
    )
    with start_script(script, tmp_path, str(slow_toy), str(tmp_path / "history")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "generation 1\n"
        process.send_signal(signal.SIGINT)
        *_, last = process.stdout.read().splitlines()
    assert process.returncode == 0
    reason, generations = last.split()
    assert reason == "interrupted"
    assert int(generations) == overnight.load(history=tmp_path / "history").generations >= 1


def test_a_night_ends_with_the_process_that_asked_for_it(tmp_path: Path, slow_toy: Path):
    """Also where it has nothing to tell, and would never find its output closed."""
    script = tmp_path / "script.py"
    script.write_text(
        "import overnight, sys\n"
        "overnight.evolve(sys.argv[1], model='relay:' + sys.argv[2], history=sys.argv[3], progress=False)\n"
    )
    history, asked = tmp_path / "history", tmp_path / "asked"
    words = [sys.executable, "-P", str(script), str(slow_toy), str(asked), str(history)]
    with subprocess.Popen(words, env={**os.environ, **QUICK}, cwd=tmp_path) as process:
        wait_until(lambda: any(asked.glob("*.prompt.md")))
        process.kill()
    for request in asked.glob("*.prompt.md"):
        answer = request.with_name(request.name.replace(".prompt.", ".answer."))
        answer.with_suffix(".part").write_text("def guess(offset):\n    return offset + 2\n")
        answer.with_suffix(".part").rename(answer)
    night = history / "runs" / overnight.load(history=history).id / "nights/0001.parquet"
    wait_until(lambda: not is_under_way(night))
    assert overnight.load(history=history).stop_reason == "interrupted"


@pytest.mark.usefixtures("on_processes")
def test_ctrl_c_while_a_callback_runs_ends_the_night_in_the_same_way(tmp_path: Path, slow_toy: Path):
    def press_once(generation: overnight.Generation) -> None:
        if generation.number == 1:
            raise KeyboardInterrupt

    run = overnight.evolve(slow_toy, model="builtin/mutate", history=tmp_path, on_generation=press_once, progress=False)
    assert run.stop_reason == "interrupted"
    assert run.generations >= 1


@pytest.mark.usefixtures("on_processes")
def test_a_run_that_is_open_is_refused_to_others_and_an_error_of_a_callback_ends_its_night(
    tmp_path: Path, slow_toy: Path
):
    def resume_meanwhile(_: overnight.Generation) -> None:
        with pytest.raises(overnight.errors.RunIsBusy) as error:
            overnight.load(history=tmp_path).resume(generations=1, progress=False)
        assert error.value.remedy
        raise Enough

    with pytest.raises(Enough):
        overnight.evolve(
            slow_toy, model="builtin/mutate", history=tmp_path, on_generation=resume_meanwhile, progress=False
        )
    assert overnight.load(history=tmp_path).stop_reason == "interrupted"


@pytest.mark.usefixtures("on_processes")
def test_evaluate_returns_the_verdicts_of_each_split(toy: Path):
    verdicts = overnight.evaluate(toy)
    assert {split: verdict.scores for split, verdict in verdicts.items()} == {"train": (-9.0, -9.0)}
    assert overnight.evaluate(toy, settings={"held_out": [3], "limits.wall_s": 5})["held_out"].scores == (-9.0,)


@pytest.mark.usefixtures("on_processes")
def test_evaluate_gives_a_program_of_another_tool_a_process_of_its_own(tmp_path: Path):
    (tmp_path / "initial_program.py").write_text("import os\n\n\ndef process():\n    return os.getpid()\n")
    (tmp_path / "evaluator.py").write_text(
        "import importlib.util, os\n\n\ndef evaluate(path):\n"
        "    spec = importlib.util.spec_from_file_location('program', path)\n"
        "    module = importlib.util.module_from_spec(spec)\n    spec.loader.exec_module(module)\n"
        "    return {'combined_score': 1.0, 'is_own': float(module.process() != os.getpid())}\n"
    )
    assert overnight.evaluate(tmp_path)["train"].metrics["is_own"] == (1.0,)
