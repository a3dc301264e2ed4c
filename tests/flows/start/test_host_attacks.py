"""Attacks on the host by the author of a problem, task or wheel, each in one short test."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from overnight.flows.environment import require_neutral_folder
from overnight.schemas.dependencies import read_dependencies
from overnight.schemas.errors import OvernightError, SpecificationError, UsageError
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.schemas.settings import parse_settings
from overnight.schemas.trust import model_proposals
from overnight.tasks.evaluate import packages
from overnight.tasks.evaluate.packages import Interpreter
from overnight.tasks.problems.loading.load import load_problem
from tests.recording_server import recording_server
from tests.wheels import make_wheel

COMMAND = [sys.executable, "-P", "-m", "overnight.flows.cli.main"]
SECRET = "a line\nand a secret without an end"


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A folder with files of a stranger."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


# The working directory


LOGGING = "version: 1\nformatters: {x: {(): os.system, command: 'touch ran'}}\n"


def test_no_file_of_the_working_directory_runs_a_command(stranger: Path):
    (stranger / ".env").write_text("PREFECT_LOGGING_SETTINGS_PATH=logging.yml\n")
    (stranger / "logging.yml").write_text(LOGGING)
    done = subprocess.run([*COMMAND, "schedule", "list"], cwd=stranger, capture_output=True, text=True, check=False)
    assert not (stranger / "ran").exists()
    assert done.returncode == 2, done.stderr
    assert ".env configures Prefect" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env", "OPENAI_API_KEY=x\nexport prefect_api_url = http://127.0.0.1:9/api\n"),
        (".env", "#" * 2**20 + "\nPREFECT_API_URL=http://127.0.0.1:9/api\n"),
        ("pyproject.toml", "prefect = [\n"),
    ],
)
def test_a_file_of_the_working_directory_that_configures_prefect_is_refused(stranger: Path, name: str, text: str):
    (stranger / name).write_text(text)
    with pytest.raises(UsageError, match=name):
        require_neutral_folder(stranger)


def test_a_pipe_in_place_of_a_configuration_file_does_not_block(stranger: Path):
    os.mkfifo(stranger / "prefect.toml")
    with pytest.raises(UsageError, match="prefect"):
        require_neutral_folder(stranger)


# Names of models, prices, and settings


@pytest.mark.parametrize(
    "name",
    [
        "replicate/../../x",
        "gemini/../../../x",
        "nlp_cloud/..",
        "openai/./x",
        "github_copilot/gpt-4o",
        "GitHub_Copilot/gpt-4o",
        "chatgpt/gpt-5",
        "openai/x?api_base=http://127.0.0.1:9",
        "openai/x#y",
        "openai/{api_base}",
        "openai/x%2f..",
        "bedrock/arn:aws:bedrock:us-east-1:1:x/y",
        "sagemaker/\\x",
        "os.environ/OPENAI_API_KEY?",
    ],
)
def test_a_model_name_with_another_address_or_a_login_is_a_proposal(name: str):
    assert model_proposals(Sampling(models=(Model(name=name),)))


def test_a_price_in_a_problem_is_a_proposal_since_budgets_depend_on_it():
    model = Model(name="openai/gpt-5", input_usd=0, output_usd=0)
    (proposal,) = model_proposals(Sampling(models=(model,)))
    assert "openai/gpt-5 for 0 and 0 USD" in proposal.value


@pytest.mark.parametrize("blank", [" ", "\t", "\n", "\u2028"])
def test_no_two_models_have_the_same_proposal(blank: str):
    """A name such as `x at http://…` would be mistaken for an accepted proposal."""
    for model in ({"name": f"openai/x{blank}at"}, {"name": "openai/x", "api_base": f"http://a{blank}b"}):
        with pytest.raises(UsageError, match="must not contain blanks"):
            parse_settings({"sampling": {"models": [model]}}, "it")


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("search", "algorithm", {"islands": 10**9}),
        ("search", "prompts", 10**9),
        ("search", "samples", 10**9),
        ("sampling", "concurrency", 10**9),
        ("sampling", "attempts", 10**9),
        ("sampling", "batch", 10**9),
        ("sampling", "timeout_s", float("inf")),
        ("sampling", "models", [f"openai/{number}" for number in range(101)]),
        ("sandbox", "slots", 10**6),
        ("limits", "wall_s", float("inf")),
        ("limits", "cpu_s", 1e300),
        ("limits", "memory_mib", 2**40),
        ("limits", "output_kib", 2**40),
        ("limits", "scratch_mib", 2**40),
    ],
)
def test_a_setting_cannot_demand_unlimited_resources(section: str, name: str, value: object):
    with pytest.raises(UsageError, match=rf"{section}\.{name}"):
        parse_settings({section: {name: value}}, "it")


def test_an_error_lists_only_the_first_of_very_many_wrong_settings():
    with pytest.raises(UsageError) as raised:
        parse_settings({f"wrong_{number}": 1 for number in range(50_000)}, "it")
    assert len(raised.value.message.splitlines()) < 30
    assert "and 49980 more" in raised.value.message


# Files of a problem


@pytest.mark.parametrize(
    "setting",
    [
        'files = [".ssh/key"]',
        'files = [".ssh"]',
        'files = [".s*/key"]',
        'files = ["link"]',
        'validation = [".config.json"]',
        'held_out = ["link.json"]',
    ],
)
def test_hidden_files_are_never_part_of_a_problem(stranger: Path, toy: Path, setting: str):
    (stranger / ".ssh").mkdir()
    (stranger / ".ssh" / "key").write_text("secret")
    (stranger / ".config.json").write_text("[1]")
    (stranger / "link").symlink_to(".ssh/key")
    (stranger / "link.json").symlink_to(".config.json")
    (stranger / "toy.py").write_text(toy.read_text())
    (stranger / "overnight.toml").write_text(setting)
    with pytest.raises(SpecificationError, match=r"hidden|no '\.s"):
        load_problem(stranger / "toy.py")


@pytest.mark.parametrize("pattern", ["*", "**/*"])
def test_a_pattern_does_not_match_hidden_files(stranger: Path, toy: Path, pattern: str):
    (stranger / ".ssh").mkdir()
    (stranger / ".ssh" / "key").write_text("secret")
    (stranger / ".env").write_text("secret")
    (stranger / "toy.py").write_text(toy.read_text())
    (stranger / "overnight.toml").write_text(f'files = ["{pattern}"]')
    assert {file.path for file in load_problem(stranger / "toy.py").files} <= {"toy.py", "overnight.toml"}


@pytest.mark.parametrize(
    "requirement",
    [
        "x; " + "(" * 5000,
        "x" * 20_000,
        "x; os_name != 'a\n--index-url http://127.0.0.1:9/'",
        "x\n--index-url=http://127.0.0.1:9/",
        "-r /etc/passwd",
        "--find-links /tmp",
        "./x",
        "x @ ",
    ],
)
def test_an_invalid_requirement_is_refused_with_a_message(requirement: str):
    with pytest.raises(SpecificationError, match="not a requirement"):
        read_dependencies({"toy.py": {"dependencies": [requirement]}})


# Tasks of other tools


@pytest.mark.parametrize(
    "config",
    [
        "1: 2",
        "a: {1: {2: 3}}",
        "evaluator: {timeout: null}",
        "evaluator: {timeout: [1]}",
        "evaluator: {timeout: .inf}",
        "llm: text",
        "llm: {models: 5}",
        "llm: {models: [{name: x, weight: {a: b}}]}",
        "database: {num_islands: 1000000000}",
        "evaluator: {cascade_thresholds: [.nan, x]}",
    ],
)
def test_an_invalid_configuration_of_openevolve_raises_only_errors_of_ours(stranger: Path, config: str):
    write_openevolve(stranger, config)
    with contextlib.suppress(OvernightError):
        load_problem(stranger)


def write_openevolve(folder: Path, config: str) -> None:
    (folder / "evaluator.py").write_text("def evaluate(path):\n    return {}\n")
    (folder / "initial_program.py").write_text("x = 1\n")
    (folder / "config.yaml").write_text(config)


ORDER = "x; touch ran #"


def test_suggested_flags_of_an_openevolve_task_hold_no_shell_command(stranger: Path):
    name, address = "x;touch$IFS/ran", "http://127.0.0.1/$(id)"
    write_openevolve(stranger, f"llm: {{primary_model: '{name}', api_base: '{address}'}}\nmax_iterations: '$(id)'\n")
    notes = load_problem(stranger).notes
    models = next(note for note in notes if "to use its models: " in note)
    assert shlex.split(models.partition(": ")[2]) == ["--model", f"openai/{name}=1.0", "--api-base", address]
    assert not any("--max-samples" in note for note in notes), "a flag that would be refused is not suggested"


def test_suggested_flags_of_a_shinka_task_hold_no_shell_command(stranger: Path):
    (stranger / "evaluate.py").write_text("")
    (stranger / "initial.py").write_text("x = 1\n")
    models = [f"gpt-5 {ORDER}", "gpt-5$(id)"]
    (stranger / "run_evo.py").write_text(f"EvolutionConfig(llm_models={models!r}, a={{1: {{2: 3}}}})\n")
    (note,) = [note for note in load_problem(stranger).notes if "--model" in note]
    assert "--model PROVIDER/MODEL" in note, "a name that holds more than a name is not suggested"


# Wheels


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which wheels are searched for."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "wheels"


PYTHON = Interpreter("it", "3.11.7", "x86_64", "2.31", {})


def test_a_wheel_cannot_require_a_download_from_an_address(wheels: Path):
    requested: list[str] = []
    with recording_server(requested) as port:
        address = f"http://127.0.0.1:{port}/steps-1-py3-none-any.whl"
        make_wheel(wheels, "counting", "1.5", requires=[f"steps @ {address}"])
        with pytest.raises(SpecificationError):
            packages.resolve(["counting"], PYTHON)
    assert not requested


@pytest.mark.parametrize("name", ["../../escaped.py", "/{}/escaped.py", "x-1.data/data/../../../escaped.py"])
def test_a_wheel_writes_nothing_outside_of_its_folder(wheels: Path, tmp_path: Path, name: str):
    make_wheel(wheels, "counting", "1", {name.format(tmp_path): "x = 1", "counting.py": ""})
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    with contextlib.suppress(SpecificationError):
        packages.fetch(["counting"], packages.resolve(["counting"], PYTHON), PYTHON, folder)
    assert not [
        path for path in tmp_path.rglob("escaped.py") if folder not in path.parents and "cache" not in path.parts
    ]


def test_a_link_in_a_wheel_copies_no_file_of_the_host(wheels: Path, tmp_path: Path, secret: Path):
    with zipfile.ZipFile(make_wheel(wheels, "counting", "1"), "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(secret))
    folder = tmp_path / "unpacked"
    folder.mkdir()
    packages.fetch(["counting"], packages.resolve(["counting"], PYTHON), PYTHON, folder)
    assert not any(SECRET in path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file())
