"""What `check` tells of a night's pace, beside what the night then has, on ten problems that are not in the docs.

    python -m tests.bench.bench_forecast [--seconds 120] [--burners 0] [NAME …]

For each problem, `overnight check` and then `overnight run --until 120s`, in a folder and with a configuration of their
own. The night's samples an hour are those that it asked for from 10 s after the first one to the last one. Burners are
processes that do nothing but keep a processor busy; the load is that of the machine when `check` begins, and after the
night.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Answer, Provider, Request, says

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests/agent/stand_in.py"

HEADER = "# /// script\n# [tool.overnight]\n# inputs = {inputs}\n{more}# ///\nimport math\n\nimport funsearch\n\n"

SINE = '''
@funsearch.run
def evaluate(count):
    points = [3.2 * k / count for k in range(count)]
    return -max(abs(sine(x) - math.sin(x)) for x in points)


@funsearch.evolve
def sine(x: float) -> float:
    """Return about sin(x)."""
    return x
'''

DEAR = '''
@funsearch.run
def evaluate(size):
    heights = [[math.sin(row * 0.7) * math.cos(column * 0.3) for column in range(size)] for row in range(size)]
    weight = step(float(size))
    total = 0.0
    for _ in range(30):
        for row in range(1, size - 1):
            for column in range(1, size - 1):
                around = heights[row - 1][column] + heights[row + 1][column] + heights[row][column - 1]
                heights[row][column] += weight * (around / 3 - heights[row][column])
    total = sum(abs(value) for line in heights for value in line)
    return -total if math.isfinite(total) else -1e9


@funsearch.evolve
def step(size: float) -> float:
    """Return the weight of the mean of the cells around one."""
    return 0.1
'''

CALLS = '''
@funsearch.run
def evaluate(calls):
    floor, waited = 0.0, 0.0
    for k in range(calls):
        wanted = (k * 7919) % 23
        floor += max(-1.0, min(1.0, move(floor, float(wanted), k % 5)))
        waited += abs(floor - wanted)
    return -waited / calls


@funsearch.evolve
def move(floor: float, wanted: float, waiting: int) -> float:
    """Return how far an elevator moves, from -1 to 1, towards what is wanted."""
    return (wanted - floor) / 9
'''

OBJECTIVES = '''
@funsearch.run
def evaluate(count):
    values = [guess(k / count) for k in range(count)]
    error = sum(abs(value - (k / count) ** 2) for k, value in enumerate(values))
    rough = sum(abs(after - before) for before, after in zip(values, values[1:]))
    return {"score": -error, "roughness": rough}


@funsearch.evolve
def guess(x: float) -> float:
    """Return about the square of x, without large steps."""
    return 0.5 * x
'''

NUMPY = '''
import numpy as np


@funsearch.run
def evaluate(size):
    grid = np.linspace(-2.0, 2.0, size)
    wanted = np.exp(-grid**2)
    return -float(np.abs(np.broadcast_to(bell(grid), grid.shape) - wanted).mean())


@funsearch.evolve
def bell(x: np.ndarray) -> np.ndarray:
    """Return about exp(-x**2) for all x."""
    return 1.0 - 0.3 * x
'''

LIBRARY = "# EVOLVE-BLOCK-START\nRATE = 0.3\n\n\ndef gain(x):\n    return RATE * x\n# EVOLVE-BLOCK-END\n"
MAIN = (
    "import json\n\nfrom lib.parts import gain\n\n# EVOLVE-BLOCK-START\nSTEPS = 20\nBIAS = 0.1\n# EVOLVE-BLOCK-END\n\n"
    "x = 4.0\nfor _ in range(max(0, min(int(STEPS), 5000))):\n    x = x - gain(x) + BIAS * 0.1\n"
    'print(json.dumps({"score": -abs(x - 1.0)}))\n'
)
COMMAND = """
import random, re, sys, time
prompt = sys.stdin.read()
time.sleep(1.0)
name, arguments = re.findall(r"def (\\w+?_v\\d+)\\((.*?)\\)", prompt)[-1]
print(f"```python\\ndef {name}({arguments}):\\n    return {random.uniform(0.1, 3):.6f}\\n```")
"""


@dataclass(frozen=True)
class Task:
    """A problem and how it is run.

    Attributes:
        files: Its files by path; the first one is named on the command line, or its folder.
        flags: Flags of both commands; `{provider}` is the address of a provider.
        latency_s: Seconds of an answer of that provider.
    """

    files: dict[str, str]
    flags: tuple[str, ...] = ()
    latency_s: float = 0.0
    is_folder: bool = False


def _file(text: str, inputs: str, more: str = "") -> dict[str, str]:
    return {"problem.py": HEADER.format(inputs=inputs, more=more) + text.lstrip("\n")}


PARETO = '# [tool.overnight.objectives]\n# metrics = {roughness = "minimize"}\n# preference = "pareto"\n'
SERVED = ("--model", "openai/served", "--api-base", "{provider}")
TASKS = {
    "cheap": Task(_file(SINE, "[100, 37]")),
    "dear": Task(_file(DEAR, "[120]")),
    "400,000 calls": Task(_file(CALLS, "[200000, 200001]")),
    "two objectives": Task(_file(OBJECTIVES, "[200]", PARETO)),
    "`process`": Task(_file(SINE, "[1000, 307]"), ("--sandbox", "process", "--trust-settings")),
    "a command": Task(_file(SINE, "[100, 37]"), ("--model", "command:bench")),
    "several files": Task(
        {
            "overnight.toml": '[command]\nprogram = ["main.py", "lib/*.py"]\nevaluate = ["python3", "{program}"]\n'
            'metric = "score"\n',
            "main.py": MAIN,
            "lib/parts.py": LIBRARY,
        },
        is_folder=True,
    ),
    "numpy": Task(_file(NUMPY, "[20000]")),
    "a slow model": Task(_file(SINE, "[100, 37]"), SERVED, 4.0),
    "an agent": Task(_file(SINE, "[100, 37]"), ("--agent", "bench", *SERVED), 2.0),
}

MEASURED = """
    WITH asked AS (FROM programs WHERE generation > 0 AND model <> 'builtin/tuner'),
        later AS (FROM asked WHERE asked_at >= (SELECT min(asked_at) FROM asked) + INTERVAL {skip} SECONDS)
    SELECT count(*) - 1 AS samples, epoch(max(asked_at) - min(asked_at)) AS seconds FROM later
"""
"""Samples from some seconds after the first one on, and the seconds in which they were asked for."""

_BEGIN_S = 10


def _answer(number: int, request: Request) -> Answer:
    """Answer a prompt with a function that returns a number, and an agent with one command, then with words."""
    if request.get("tools"):
        if len(request["messages"]) > 1:
            return says(request, "done")
        command = f"sed -i 's/return .*/return {number / 97:.5f} * x/' program/*.py"
        function = {"name": "bash", "arguments": json.dumps({"command": command})}
        call = {"id": f"c{number}", "type": "function", "function": function}
        answer = says(request, "")
        answer.body["choices"][0]["message"] |= {"content": None, "tool_calls": [call]}
        return answer
    text = str(request["messages"][-1]["content"])
    name, arguments = re.findall(r"def (\w+?_v\d+)\((.*?)\)", text)[-1]
    samples = request.get("n", 1)
    return says(
        request,
        *(
            f"```python\ndef {name}({arguments}):\n    return {number + k / 7:.5f} * x / 97\n```"
            for k in range(samples)
        ),
    )


def _command(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "overnight.flows.cli.main", *arguments]
    return subprocess.run(
        line, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def measure(name: str, task: Task, folder: Path, seconds: int) -> str:
    """Return a row of the table: a problem, the load, what was told, what the night had, and the factor."""
    for path, text in task.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (folder / "command.py").write_text(COMMAND)
    config = folder / "config.toml"
    config.write_text(
        f"[commands.bench]\ncommand = {json.dumps([sys.executable, str(folder / 'command.py')])}\n"
        f"[agents.bench]\ncommand = {json.dumps(['python3', '-c', STAND_IN.read_text(), '{task}'])}\n"
    )
    problem = "." if task.is_folder else "problem.py"
    environment = {"OVERNIGHT_CONFIG": str(config), "OPENAI_API_KEY": "bench", "OVERNIGHT_HISTORY": str(folder / "h")}
    environment |= {"XDG_STATE_HOME": str(folder / "state"), "OVERNIGHT_SLOTS": str(folder / "slots")}
    with Provider(_answer) as provider:
        provider.latency_s = task.latency_s
        flags = [flag.format(provider=provider.api_base) for flag in task.flags]
        load, begin = os.getloadavg()[0], time.monotonic()
        checked = _command("check", problem, *flags, "--format", "json", folder=folder, environment=environment)
        took = time.monotonic() - begin
        if not checked.stdout:
            return f"| {name} | check failed: {checked.stderr[-800:]} |"
        told = json.loads(checked.stdout)["pace"]
        low, high = told["samples_per_hour"]
        done = _command("run", problem, *flags, "--until", f"{seconds}s", folder=folder, environment=environment)
    if done.returncode:
        return f"| {name} | run failed: {done.stderr[-800:]} |"
    (row,) = Database(folder / "h").rows(MEASURED.format(skip=_BEGIN_S))
    had = 3600 * row["samples"] / row["seconds"] if row["seconds"] else 0.0
    if not had:
        return f"| {name} | {load:.0f} | {took:.0f} s | {low:,.0f} to {high:,.0f} | nothing was committed in time |"
    middle = (low + high) / 2
    return (
        f"| {name} | {load:.0f} to {os.getloadavg()[0]:.0f} | {took:.0f} s | {low:,.0f} to {high:,.0f} | {had:,.0f} | "
        f"{middle / had:.2f} | {told['limited_by']} |"
    )


@contextlib.contextmanager
def burners(number: int) -> Iterator[None]:
    """Keep so many processes busy while the block lasts."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_forecast")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--seconds", type=int, default=120, help="of each night")
    parser.add_argument("--burners", type=int, default=0, help="processes that keep the machine busy")
    options = parser.parse_args()
    print(
        "| problem | load | `check` | told, samples an hour | had | factor | limited by |\n"
        "|---|--:|--:|--:|--:|--:|---|"
    )
    with burners(options.burners):
        for name, task in TASKS.items():
            if not options.names or name in options.names:
                with tempfile.TemporaryDirectory(prefix="overnight-bench-") as folder:
                    print(measure(name, task, Path(folder), options.seconds), flush=True)


if __name__ == "__main__":
    main()
