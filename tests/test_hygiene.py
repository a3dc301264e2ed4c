"""What no import graph shows: slow libraries stay out of quick commands, names stay free, nothing calls home."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLOW = {"prefect", "litellm", "docker", "duckdb", "pyarrow", "distributed", "dask"}


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return set(done.stdout.split())


@cache
def sources() -> dict[Path, str]:
    """Return the text of every module of ours."""
    return {path: path.read_text() for room in ("flows", "tasks", "schemas") for path in (ROOT / room).rglob("*.py")}


@pytest.mark.parametrize(
    ("commands", "allowed"),
    [
        ([["--help"], ["run", "--help"]], set()),
        ([["sql", "SELECT 1"], ["runs"], ["problems"]], {"duckdb", "pyarrow"}),
    ],
)
def test_quick_commands_import_no_slow_library(commands: list[list[str]], allowed: set[str]):
    code = "import overnight.flows.cli.main as m, contextlib, io\n"
    code += f"with contextlib.redirect_stdout(io.StringIO()):\n    for arguments in {commands}: m.run(arguments)"
    assert modules_after(code) & SLOW <= allowed


REFUSED = (
    ["run", "cap-sett"],
    ["run", "nowhere.py"],
    ["run", "tests/test_hygiene.py"],
    ["run", "cap-set", "--generations", "0"],
    ["run", "cap-set", "--until", "soon"],
    ["run", "cap-set", "--inputs", "[8"],
    ["run", "cap-set", "--set", "search.island=3"],
    ["run", "cap-set", "--batch"],
    ["check", "cap-sett"],
    ["schedule", "add", "cap-sett", "--cron", "0 22 * * *"],
    ["resume", "nothing"],
    ["retry", "nothing"],
    ["replay", "nothing"],
    ["rescore", "nothing"],
)


def test_what_is_typed_is_looked_at_before_anything_slow_is_imported(tmp_path: Path):
    history = f"import os; os.environ['OVERNIGHT_HISTORY'] = {str(tmp_path / 'history')!r}\n"
    code = "import overnight.flows.cli.main as m, sys\n"
    code += f"codes = [m.run(arguments) for arguments in {REFUSED}]\nassert codes == [2] * len(codes), codes"
    assert modules_after(history + code) & SLOW <= {"pyarrow"}


def test_a_start_program_is_looked_at_without_prefect():
    assert not modules_after(
        "import overnight.flows.start.create_run, overnight.flows.cli.baseline, overnight.flows.cli.check"
    ) & {
        "prefect",
        "litellm",
        "duckdb",
    }


def test_the_built_in_model_answers_without_litellm():
    code = (
        "from overnight.schemas.program import Prompt\nfrom overnight.schemas.sampling_settings import Sampling\n"
        "from overnight.tasks.sample.gateway import Gateway, Sample\n"
        "from overnight.tasks.sample.provider import require_keys\n"
        "require_keys(Sampling())\n"
        "prompt = Prompt(0, '0', (), 'builtin/mutate', 'completion', 'def f_v0(x):\\n    return x\\n', (1,))\n"
        "assert Gateway(Sampling()).sample([Sample(prompt, 0)], lambda _: None)[0].text"
    )
    assert not modules_after(code) & SLOW


def test_no_flag_is_offered_that_means_nothing():
    shown = (
        "import overnight.flows.cli.main as m, contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as page:\n"
        "    codes = [m.run([*name.split(), '--help']) for name in [*m.COMMANDS, 'schedule add', 'schedule change']]\n"
        "assert not any(codes) and page.getvalue().count('Usage: ') == len(codes), codes\n"
        "assert '--model' in page.getvalue()\n"
        "assert '--empty-' not in page.getvalue() and '--no-' not in page.getvalue(), page.getvalue()"
    )
    assert not modules_after(shown) & SLOW


@pytest.mark.parametrize("library", ["litellm", "docker", "duckdb", "distributed", "dask"])
def test_one_module_or_those_of_one_prefix_import_each_door_to_the_outside(library: str):
    doors = set()
    for path, text in sources().items():
        for node in ast.walk(ast.parse(text)) if library in text else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == library for name in names):
                doors.add(path.with_name(path.stem.partition("_")[0]).relative_to(ROOT).as_posix())
    assert len(doors) == 1, doors


def test_no_module_of_ours_has_the_name_of_a_dependency():
    ours = {path.stem for room in ("flows", "tasks", "schemas") for path in (ROOT / room).glob("*")}
    theirs = {(dist.metadata["Name"] or "").lower().replace("-", "_") for dist in distributions()}
    assert not ours & theirs


def test_nothing_calls_home():
    code = "from overnight.flows.environment import prepare; prepare(); import os"
    code += "\nassert os.environ['DO_NOT_TRACK'] == '1'"
    code += "\nassert os.environ['PREFECT_SERVER_ANALYTICS_ENABLED'] == 'false'"
    code += "\nassert os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] == 'True'"
    modules_after(code)


def test_files_of_strangers_are_read_by_one_guard():
    """What is data, reads program texts or loads problems reaches the file system through `problem_folder` alone."""
    rooms = ("schemas", "tasks/program", "tasks/problems/loading")
    guarded = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    allowed = {"tasks/program/problem_folder.py", "schemas/views.py"}
    for path in guarded:
        name = path.relative_to(ROOT).as_posix()
        if name in allowed or "inside" in path.parts:
            continue
        nodes = list(ast.walk(ast.parse(sources()[path])))
        assert not any(isinstance(node, ast.Name) and node.id == "open" for node in nodes), name
        attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
        owners = [ast.unparse(node.value) for node in attributes if node.attr in ("read_text", "read_bytes")]
        bridges = ["Path(__file__).parent / 'inside' / bridge"]
        assert [owner for owner in owners if owner != "problem_folder"] in ([], bridges), name
        if not name.startswith("tasks/problems/"):
            assert not owners, f"{name}: what reads problems from disk is in tasks/problems/loading"


def test_problems_and_candidates_are_never_imported():
    forbidden = {"exec", "eval", "__import__"}
    for path, text in sources().items():
        if "runner" in path.parts or not any(f"{name}(" in text for name in forbidden):
            continue
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & forbidden, path


def test_the_first_prompts_of_a_night_are_asked_without_loading_prefect():
    assert "prefect" not in modules_after(
        "import overnight.flows.cli.run, overnight.flows.cli.foreground_night\n"
        "import overnight.flows.start.create_run, overnight.flows.night.night\n"
        "from overnight.flows.prefect_server.embedded import PrefectServer"
    )


def test_the_type_checker_is_told_each_link_to_the_source():
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pyright"]["include"]
    links = [path for path in (ROOT / "infra/package/overnight").iterdir() if path.is_symlink()]
    assert {str(path.relative_to(ROOT)) for path in links} <= set(include), (
        "links are followed only where they are named"
    )
