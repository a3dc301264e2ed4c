"""Real nights that are killed at random moments, resumed and replayed by the commands: the same history each time."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from overnight.testing.fake_provider import Answer, Provider, Request, says
from tests.accidents import NightProcess
from tests.command_server import run_command
from tests.toys import TOY

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = """# sandbox.confirm = "best"
# validation = [2]
# held_out = [3]
"""
BODIES = (
    "return offset + {0}.5",
    "return offset + {0} * 1.25",
    "raise ValueError(f'no luck with {{object()}} after {{__import__(\"time\").time()}} s')",
    "__import__('time').sleep(0.48 + {0} / 100)\n    return offset + {0}",
)
"""What models answer; the last takes about as long as the limit."""


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    """A problem with confirmations, a tuner and a final evaluation, whose limit of seconds some answers are near."""
    text = TOY.read_text().replace('# sandbox.confirm = "never"\n', SETTINGS)
    text = text.replace("enabled = false", "enabled = true").replace("wall_s = 2", "wall_s = 1")
    path = tmp_path / "toy.py"
    path.write_text(text)
    return path


def answer(_: int, request: Request) -> Answer:
    """Answer by what is asked alone, after a moment."""
    asked = f"{request['messages'][-1]['content']}/{request.get('seed')}"
    texts = []
    for place in range(request.get("n", 1)):
        drawn = Random(hashlib.sha256(f"{asked}/{place}".encode()).digest())
        body = drawn.choice(BODIES).format(drawn.randrange(9))
        texts.append(f"```python\ndef guess(offset):\n    {body}\n```")
    return says(request, *texts)


@pytest.fixture
def night(prefect_api: str, tmp_path: Path) -> Iterator[NightProcess]:
    process = NightProcess(tmp_path / "history", {"PREFECT_API_URL": prefect_api, "OPENAI_API_KEY": "test"})
    yield process
    process.kill_if_running()


@pytest.mark.parametrize("seed", range(20))
def test_it_replays_to_the_same_history(
    seed: int, night: NightProcess, provider: Provider, problem: Path, tmp_path: Path
):
    order = Random(seed)
    provider.script, provider.latency_s = answer, order.choice([0.0, 0.1])
    model = ["--model", "openai/test", "--api-base", provider.api_base, "--sandbox", "process"]
    night.start(str(problem), *model, "--seed", str(seed), "--generations", "4")
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(tmp_path / "history")}
    for _ in range(order.randint(1, 3)):
        time.sleep(order.uniform(0.1, 6.0))  # the moment is what is tried
        if not night.is_over():
            night.kill()
        if order.random() < 0.5:
            run_command(["hint", night.run_id, "try a number near 10"], environment)
        night.resume("--generations", str(order.randint(1, 3)))
    night.wait_for_success()
    done = run_command(["replay", night.run_id], environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "the same history" in done.stdout
