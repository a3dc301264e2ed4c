"""Invalid input: a message with a remedy and the right exit code, no traceback, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from overnight.flows.prefect_server import embedded
from overnight.tasks.evaluate import container_worker
from overnight.tasks.history.run_lock import locked_here
from overnight.testing.made import create, grow
from tests.flows.cli.conftest import Command

SPECIFICATION = """import funsearch


@funsearch.run
def evaluate(n):
    return f(n)


@funsearch.evolve
def f(n):
    return 1.0
"""


def with_settings(*lines: str, dependencies: str = "[]") -> str:
    """Return a specification with settings."""
    block = ["/// script", f"dependencies = {dependencies}", "[tool.overnight]", *lines, "///"]
    return "".join(f"# {line}\n" for line in block) + SPECIFICATION


WRONG = {
    "an unknown command": (["rnu"], 2, "rnu"),
    "an unknown option": (["run", "cap-set", "--nights", "3"], 2, "--nights"),
    "a built-in model that is not there": (
        ["run", "cap-set", "--model", "builtin/mutat"],
        2,
        "There is builtin/mutate",
    ),
    "a command that is not there": (["run", "cap-set", "--model", "command:foo"], 2, "[commands.foo]"),
    "a model of no provider": (["run", "cap-set", "--model", "gpt5mini"], 2, "openai/NAME with --api-base"),
    "no server at an address": (
        ["run", "cap-set", "--model", "openai/x", "--api-base", "http://127.0.0.1:9"],
        3,
        "nothing answers at http://127.0.0.1:9",
    ),
    "an unknown problem": (["run", "cap-sett"], 2, "Did you mean cap-set?"),
    "a missing file": (["run", "nowhere.py"], 2, "no file nowhere.py"),
    "an unknown setting": (
        ["check", "--without-pace", "cap-set", "--set", "limits.wal_s=1"],
        2,
        "did you mean `limits.wall_s`?",
    ),
    "a setting without value": (["check", "--without-pace", "cap-set", "--set", "limits.wall_s"], 2, "key=value"),
    "a wrong value": (["check", "--without-pace", "cap-set", "--set", "limits.wall_s=soon"], 2, "limits.wall_s"),
    "inputs that are not JSON": (["run", "cap-set", "--inputs", "[8"], 2, "--inputs takes JSON"),
    "a setting and its table": (
        ["check", "--without-pace", "cap-set", "--set", "search=4", "--set", "search.prompts=3"],
        2,
        "only one",
    ),
    "generations below one": (["run", "cap-set", "--generations", "0"], 2, "greater than or equal to 1"),
    "a target that is not a number": (["run", "cap-set", "--target", "nan"], 2, "--target: Input should be a finite"),
    "a budget without end": (["run", "cap-set", "--budget", "inf"], 2, "--budget: Input should be a finite number"),
    "an invalid time": (["run", "cap-set", "--until", "soon"], 2, "07:00"),
    "a grace of more than a week": (["run", "cap-set", "--until", "10s", "--grace", "1e300"], 2, "--grace: Input"),
    "a seed that is too large": (["run", "cap-set", "--seed", "99999999999999999999999"], 2, "2**63 - 1"),
    "a part of the settings and a model": (
        ["run", "cap-set", "--set", "sampling=5", "--model", "builtin/mutate"],
        2,
        "--set sampling.KEY=VALUE",
    ),
    "a schedule's name that Prefect refuses": (
        ["schedule", "add", "cap-set", "--cron", "0 22 * * *", "--name", "a/b"],
        2,
        "--name: expected a name without /",
    ),
    "a gain that is not a number": (["run", "cap-set", "--notify-gain", "nan"], 2, "--notify-gain: expected a finite"),
    "a port that is too large": (["watch", "--port", "99999"], 2, "65535"),
    "an address without model": (["run", "cap-set", "--api-base", "http://127.0.0.1:1"], 2, "Add --model"),
    "an address without scheme": (
        ["run", "cap-set", "--model", "openai/x", "--api-base", "localhost:8000/v1"],
        2,
        "such as http://localhost:8000/v1",
    ),
    "a file as inputs": (["run", "cap-set", "--inputs", "OR3.json"], 2, """--inputs '["OR3.json"]'"""),
    "a history in a file": (["run", "cap-set", "--history", f"{__file__}/history"], 3, "a file is in the way"),
    "a history that is a file": (["runs", "--history", __file__], 3, "a file is in the way"),
    "a history that cannot be written": (["run", "cap-set", "--history", "/proc/history"], 3, "--history DIR"),
    "a missing run": (["resume", "last"], 2, "overnight run"),
    "settings of a run that has its own": (["resume", "last", "--set", "search.prompts=3"], 2, "keeps its models"),
    "a command without its argument": (["import"], 2, "`overnight import --help`"),
    "a history with a key": (["runs", "--history", "s3://id:secret@bucket/history"], 2, "AWS_SECRET_ACCESS_KEY"),
    "a history with an unknown scheme": (["runs", "--history", "nonsense://bucket/history"], 2, "s3://bucket/prefix"),
    "a store without package": (["runs", "--history", "sftp://there/history"], 3, "paramiko"),
    "a store that does not answer": (
        ["run", "cap-set", "--history", "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http"],
        3,
        "does not answer",
    ),
    "a missing program": (["show", "abc"], 2, "no program"),
    "two views of a program": (["show", "abc", "--why", "--lineage"], 2, "--lineage and --why"),
    "two programs without a comparison": (["show", "abc", "abd"], 2, "overnight show abc abd --diff"),
    "a schedule's problem without its verb": (["schedule", "cap-set"], 2, "cap-set"),
    **{
        f"a history that is not there: {arguments[0]}": (arguments, 2, "Name the place of your runs with --history")
        for arguments in (
            *(["sql", "FROM runs"], ["best"], ["report"], ["report", "--all"], ["watch"]),
            *(["compare", "a", "b"], ["replay", "last"], ["rescore", "last"], ["export", "last"], ["compact"]),
        )
    },
    "an unknown built-in model": (["run", "cap-set", "--model", "builtin/mutat"], 2, "There is builtin/mutate"),
    "a model without a provider": (
        ["check", "--without-pace", "cap-set", "--model", "claude"],
        2,
        "like openai/gpt-5-mini",
    ),
    "no key": (["run", "cap-set", "--model", "groq/some-model"], 3, "export GROQ_API_KEY"),
    "an empty key": (["run", "cap-set", "--model", "openai/gpt-5-mini"], 3, "export OPENAI_API_KEY"),
    "a budget without price": (
        [
            "check",
            "--without-pace",
            "cap-set",
            "--model",
            "openai/nowhere",
            "--api-base",
            "http://127.0.0.1:9/v1",
            "--budget",
            "5",
        ],
        2,
        "input_usd",
    ),
    "a batch for a provider without": (
        ["run", "cap-set", "--batch", "--model", "groq/x"],
        2,
        "create a batch for groq",
    ),
    "a batch for the built-in model": (["run", "cap-set", "--batch"], 2, "create a batch for builtin"),
    "no engine": (["check", "--without-pace", "cap-set"], 3, "Start it, or install one"),
    "no image": (["check", "--without-pace", "cap-set", "--set", "sandbox.image=nowhere"], 3, "overnight doctor --fix"),
    "an unknown image for a run": (["run", "cap-set", "--image", "cuda:13"], 3, "docker pull"),
    "an unknown sandbox backend": (["run", "cap-set", "--set", "sandbox.backend=nosuch"], 2, "expected one of docker"),
    "a syntax error": (["run", "{folder}/syntax.py"], 2, "syntax.py:4: "),
    "nothing evolves": (["run", "{folder}/nothing_evolves.py"], 2, "@funsearch.evolve"),
    "no inputs": (["run", "{folder}/no_inputs.py"], 2, "--inputs '[8]'"),
    "a missing file of inputs": (["run", "{folder}/no_input_file.py"], 2, "missing.json"),
    "a setting of another type": (["run", "{folder}/wrong_type.py"], 2, "limits.wall_s"),
    "an unknown setting of a file": (["run", "{folder}/unknown_key.py"], 2, "noise"),
    "settings that are no TOML": (["run", "{folder}/wrong_toml.py"], 2, "TOML"),
    "a folder that is no problem": (["run", "{folder}/folder"], 2, "overnight.toml"),
    "a package that is not there": (["run", "{folder}/unknown_package.py"], 2, "nunpy-that-is-not-there"),
    "an unknown algorithm": (["run", "cap-set", "--set", "search.algorithm=gredy"], 2, "greedy"),
    "an unknown operator": (["run", "cap-set", "--set", 'search.operators=["refin"]'], 2, "refine"),
    "a weight that is no number": (["run", "cap-set", "--model", "builtin/mutate=much"], 2, "weight"),
    "a deadline that has passed": (["run", "cap-set", "--until", "2020-01-01 07:00"], 2, "--until"),
    "a negative budget": (["run", "cap-set", "--budget", "-1"], 2, "--budget"),
    "an agent that is not there": (
        ["run", "cap-set", "--agent", "foo", "--model", "builtin/mutate"],
        2,
        "[agents.foo]",
    ),
    "an agent without a model": (["run", "cap-set", "--agent", "pi"], 2, "--agent"),
    "a further start that is not there": (
        ["run", "cap-set", "--start", "nowhere.py"],
        2,
        "--start nowhere.py: no such file",
    ),
    "a pinned program that is not there": (
        ["run", "cap-set", "--pin", "nowhere.py"],
        2,
        "--pin nowhere.py: no such file",
    ),
    "a cluster that does not answer": (["run", "cap-set", "--cluster", "tls://127.0.0.1:9"], 3, "127.0.0.1:9"),
    "a cluster's address that is none": (["run", "cap-set", "--cluster", "somewhere"], 2, "tls://head:8786"),
    "slots that others may enter": (["run", "cap-set"], 3, "chmod 700"),
    "a configuration file that is wrong": (["run", "cap-set"], 2, "modles"),
    "a notification of no service": (["run", "cap-set", "--notify", "nowhere"], 2, "--notify"),
    "an unknown run": (["resume", "nowhere"], 2, "no run in"),
    "an unknown run to retry": (["retry", "nowhere"], 2, "no run in"),
    "a schedule of an unknown problem": (["schedule", "add", "cap-sett", "--cron", "0 22 * * *"], 2, "cap-set?"),
    "a wrong cron": (["schedule", "add", "cap-set", "--cron", "at ten"], 2, "--cron"),
    "a wrong time zone": (["schedule", "add", "cap-set", "--cron", "0 22 * * *", "--time-zone", "Mars"], 2, "Mars"),
    "no server for schedules": (["schedule", "add", "cap-set", "--cron", "0 22 * * *"], 3, "schedule serve"),
    "an unknown runtime for a run": (["run", "cap-set", "--runtime", "nosuch"], 3, "; it has "),
}

FILES = {
    "syntax.py": "import funsearch\n\n@funsearch.run\ndef evaluate(n)\n    return 1\n",
    "nothing_evolves.py": "import funsearch\n\n@funsearch.run\ndef evaluate(n):\n    return 1.0\n",
    "no_inputs.py": SPECIFICATION,
    "no_input_file.py": with_settings('inputs = ["missing.json"]'),
    "wrong_type.py": with_settings("inputs = [3]", "[tool.overnight.limits]", 'wall_s = "long"'),
    "unknown_key.py": with_settings("inputs = [3]", "notse = 1"),
    "wrong_toml.py": with_settings("inputs = [3"),
    "fine.py": with_settings("inputs = [3]"),
    "unknown_package.py": with_settings("inputs = [3]", dependencies='["nunpy-that-is-not-there"]'),
    "folder/readme.txt": "no problem\n",
    "slots/0": "",
    "wrong_config.toml": "[sampling]\nmodles = []\n",
}
"""Files that the commands name as `{folder}/NAME`, by their names."""


def arguments_of(arguments: Sequence[str], folder: Path) -> list[str]:
    """Return the arguments of a case with the paths of its files, which are written to a folder."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return [argument.replace("{folder}", str(folder)) for argument in arguments]


ENVIRONMENT = {
    "no engine": {"DOCKER_HOST": "unix:///nowhere.sock"},
    "an empty key": {"OPENAI_API_KEY": ""},
    "slots that others may enter": {"OVERNIGHT_SLOTS": "{folder}/slots"},
    "a configuration file that is wrong": {"OVERNIGHT_CONFIG": "{folder}/wrong_config.toml"},
    "no server for schedules": {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
}
"""Environment variables of a case."""


NO_SERVER = "http://127.0.0.1:9/api"
"""Prefect API URL where no server answers; for commands that are refused before they need one."""


@pytest.fixture
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a Prefect server or a container is started."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("something was started before the message")

    monkeypatch.setattr(embedded.EmbeddedServer, "__init__", refuse)
    monkeypatch.setattr(container_worker.ContainerWorker, "start", refuse)


@pytest.mark.usefixtures("_nothing_starts")
@pytest.mark.parametrize("case", WRONG)
def test_an_error_has_a_message_and_a_remedy_before_anything_is_started(case: str, tmp_path: Path, here: Command):
    arguments, code, message = WRONG[case]
    history = tmp_path / "history"
    environment = {name: value.format(folder=tmp_path) for name, value in ENVIRONMENT.get(case, {}).items()}
    done = here(arguments_of(arguments, tmp_path), history, **environment)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("overnight: error: ") or "\novernight: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.rpartition("overnight: error: ")[2].splitlines()) > 1, "it has a remedy"
    assert not history.exists()
    assert "starting:" not in done.stderr


@pytest.mark.usefixtures("_nothing_starts")
def test_a_run_that_is_under_way_is_refused_before_anything_is_started(tmp_path: Path, here: Command):
    files = create(tmp_path / "history")
    grow(files, 1)
    with locked_here(files):
        done = here(["resume", "last"], tmp_path / "history")
    assert done.returncode == 2, done.stderr
    assert "is under way in another process" in done.stderr


def test_doctor_shows_all_that_is_missing_also_where_the_history_is_a_file(here: Command, tmp_path: Path):
    history = tmp_path / "file"
    history.touch()
    done = here(["doctor"], history, DOCKER_HOST="unix:///nowhere.sock", PREFECT_API_URL="")
    assert done.returncode == 3
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "Start it, or install one" in rows["engine"]
    assert "a file is in the way" in rows["disk"]
    assert "ok" in rows["prefect"]


def test_doctor_finds_what_a_night_would_refuse_of_this_machine(here: Command, tmp_path: Path):
    slots, config = tmp_path / "slots", tmp_path / "config.toml"
    slots.mkdir(mode=0o755)
    config.write_text('[sandbox]\nbackend = "process"\nruntime = "runsc"\n[sampling]\nmodels = ["groq/some-model"]\n')
    own = {"OVERNIGHT_SLOTS": str(slots), "OVERNIGHT_CONFIG": str(config), "OVERNIGHT_NOTIFY": "nowhere://x"}
    done = here(["doctor", "--format", "json"], tmp_path, GROQ_API_KEY="", PREFECT_API_URL="", **own)
    assert done.returncode == 3
    found = {row["check"]: row["found"] for row in json.loads(done.stdout) if not row["is_ok"]}
    assert found.keys() == {"image", "slots", "keys", "notify"}
    assert "mode 0755" in found["slots"]
    assert "no runtime 'runsc'" in found["image"]
    assert "GROQ_API_KEY" in found["keys"]
    assert "nowhere://" in found["notify"]


@pytest.mark.parametrize(("generation", "command"), [(9, "overnight resume"), (1, "overnight sql")])
def test_a_generation_that_has_not_failed_is_refused_with_a_command_for_its_history(
    generation: int, command: str, tmp_path: Path, here: Command
):
    history = tmp_path / "a history"
    files = create(history)
    grow(files, 1)
    done = here(["retry", "last", "--generation", str(generation)], history)
    assert done.returncode == 2
    (remedy,) = [line for line in done.stderr.splitlines() if command in line]
    assert files.run_id in remedy
    assert remedy.endswith(f" --history '{history}'")


@pytest.mark.usefixtures("processes")
def test_a_start_program_without_a_score_is_refused_before_anything_is_spent(here: Command, toy: Path, tmp_path: Path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(toy.read_text().replace("return offset + 1.0", "return 1 / 0"))
    done = here(
        ["run", str(wrong), "--generations", "1", "--seed", "1"], tmp_path / "history", PREFECT_API_URL=NO_SERVER
    )
    assert done.returncode == 2, done.stderr
    assert "crashed: ZeroDivisionError" in done.stderr
    assert "overnight check" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "history").exists()


@pytest.mark.usefixtures("processes")
def test_a_missing_module_beside_the_file_is_distinguished_from_a_missing_package(
    here: Command, toy: Path, tmp_path: Path
):
    wrong = tmp_path / "wrong.py"
    wrong.write_text(toy.read_text().replace("import funsearch", "import beside\nimport funsearch"))
    (tmp_path / "beside.py").write_text("")
    assert 'files = ["beside.py"]' in here(["check", "--without-pace", str(wrong)], tmp_path / "history").stderr
    (tmp_path / "beside.py").unlink()
    assert 'dependencies = ["beside"]' in here(["check", "--without-pace", str(wrong)], tmp_path / "history").stderr


def test_a_closed_pipe_is_not_an_error(tmp_path: Path):
    create(tmp_path)
    done = subprocess.run(
        f"{sys.executable} -m overnight.flows.cli.main sql 'SELECT * FROM range(300000)' --format csv | head -1",
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OVERNIGHT_HISTORY": str(tmp_path)},
        check=False,
    )
    assert done.stdout.strip() == "range"
    assert "Traceback" not in done.stderr


def test_characters_that_a_pipe_s_encoding_lacks_are_escaped(tmp_path: Path):
    command = [sys.executable, "-m", "overnight.flows.cli.main", "problems"]
    environment = {**os.environ, "OVERNIGHT_HISTORY": str(tmp_path), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert r"Erd\u0151s" in done.stdout or r"\u" in done.stdout or r"\x" in done.stdout


IN_PLACE = """import funsearch

@funsearch.run
def evaluate(n):
    values = []
    fill(values, n)
    return len(values)

@funsearch.evolve
def fill(values, n):
    values.extend(range(n))
"""


@pytest.mark.usefixtures("processes")
def test_a_problem_that_cannot_be_confirmed_is_warned_of_and_refused_with_a_remedy(overnight: Command, tmp_path: Path):
    path = tmp_path / "in_place.py"
    path.write_text(IN_PLACE)
    done = overnight("check", "--without-pace", str(path), "--inputs", "[3]")
    assert done.returncode == 2, done.stderr
    assert "warning: no best program could be confirmed" in done.stderr
    assert "sandbox.confirm=never" in done.stderr
    refused = overnight("run", str(path), "--inputs", "[3]", "--generations", "1", PREFECT_API_URL=NO_SERVER)
    assert refused.returncode == 2
    assert "3.0 and 0.0 on input 1" in refused.stderr
    assert "--confirm never" in refused.stderr
    wrong = overnight("run", str(path), "--inputs", "[3]", "--confirm", "sometimes")
    assert wrong.returncode == 2
