"""The commands of a page of the documentation, and how they are run in a folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

from overnight.testing.fake_provider import Provider
from tests import docs
from tests.command_server import install
from tests.conftest import PLAIN, QUICK
from tests.notebooks import EVOLVE, RUN, write_notebook

ROOT = docs.ROOT
BIN = ROOT / ".venv/bin"


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language, without the indentation that they have in lists."""
    fence = re.compile(rf"^ *```{language}\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in fence.findall(page.read_text())]


def commands(page: Path) -> list[str]:
    """The blocks with `overnight` commands, in order."""
    return [block for block in blocks(page, "sh") if "overnight " in block]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shortened(line: str, api_base: str) -> str:
    """A line of a block, where nights are cut short and seeded and the provider is the test's own."""
    line = line.replace("http://127.0.0.1:8000/v1", api_base)
    if line.startswith(("overnight run ", "overnight resume ")):
        line = re.sub(r" --(generations|max-samples) \d+", "", line) + " --generations 1 --max-samples 4"
        line = line.replace("--until 07:00", "--until 7h")  # also when the test runs at seven
    if line.startswith("overnight run bin-packing-or"):  # a second of processor time for each program and split
        line = line.replace("--max-samples 4", "--max-samples 2") + " --set 'validation=[]' --set 'held_out=[]'"
    if line.startswith("overnight run "):
        line += " --set tuner.enabled=false" + " --seed 1" * ("--seed" not in line)
    return line


def with_few_samples(script: str) -> str:
    """A script whose nights are cut short."""
    return re.sub(r"max_samples=\d+", "max_samples=4", script)


def programs_in(folder: Path) -> Path:
    """Return the folder with the `overnight` to run: one that forks, in a new folder, where that can be done."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    return programs if install(programs) else BIN


def run_blocks(
    page: Path, folder: Path, prefect_api: str, provider: Provider, programs: Path = BIN, *, in_containers: int = 0
) -> None:
    """Run all blocks of a page in a folder, with the `overnight` of a folder of programs.

    The first `in_containers` blocks use containers and Prefect. The others evaluate in their own processes, in others
    where limits are set, and their nights have no server. A page about schedules needs the address of one.
    """
    environment = {
        **os.environ,
        "PATH": f"{programs}:{BIN}:{os.environ['PATH']}",
        "PREFECT_API_URL": prefect_api,
        "OPENAI_API_KEY": "test",
        "OPENAI_BASE_URL": provider.api_base,
    }
    environment.pop("OVERNIGHT_HISTORY", None)
    for number, block in enumerate(commands(page)):
        sandbox = {} if number < in_containers else PLAIN if "--set limits." in block else QUICK
        lines = [shortened(line, provider.api_base) for line in block.splitlines()]
        script = "\n".join(["set -euxo pipefail", *lines])
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment | sandbox, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name_of(page)}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{name_of(page)}\n{done.stderr}"


def clone_tools(folder: Path) -> None:
    """Make folders like clones of other tools, with problems of ours of their formats in place of their examples."""
    tasks = ROOT / "tests/task_formats"
    shutil.copytree(tasks / "openevolve/line_fit", folder / "openevolve/examples/function_minimization")
    shutil.copytree(tasks / "shinka/cosine", folder / "ShinkaEvolve/examples/circle_packing")
    write_notebook(folder / "funsearch/cap_set/cap_set.ipynb", f'"""Sets."""\n{RUN}{EVOLVE}', "print(evaluate(3))\n")
