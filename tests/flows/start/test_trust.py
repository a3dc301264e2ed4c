"""Keys, images and downloads: proposals of untrusted files and runs have no effect until the user accepts them."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.schedules.scheduled_night import Start, create_if_missing
from overnight.flows.start.create_run import versions
from overnight.flows.start.trust import (
    accept,
    proposals_of,
    remember,
    require_trusted_models,
    require_trusted_sandbox,
    trusted_run,
)
from overnight.flows.state_folder import state_folder
from overnight.schemas.errors import EnvironmentFault, UntrustedSettings, UsageError
from overnight.schemas.program import Program
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.schemas.trust import model_proposals
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.make_problem import restore_problem
from overnight.tasks.select import create_algorithm
from overnight.testing.fake_provider import Provider
from overnight.testing.made import a_run
from tests.flows.conftest import Call
from tests.plugins import install

KEY = "sk-of-the-user"
SHORT = ["--generations", "1", "--seed", "1", "--set", "search.prompts=1", "--set", "search.samples=1"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has a key and has accepted nothing yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return tmp_path


def specification(toy: Path, folder: Path, *lines: str) -> Path:
    """The toy problem with more lines in its settings."""
    folder.mkdir(exist_ok=True)
    path = folder / "toy.py"
    more = "".join(f"# {line}\n" for line in lines)
    path.write_text(toy.read_text().replace("# inputs", f"{more}# inputs", 1))
    return path


def model(provider: Provider) -> str:
    return f'sampling.models = [{{ name = "openai/x", api_base = "{provider.api_base}" }}]'


@pytest.mark.heavy
@pytest.mark.usefixtures("plain")
def test_no_key_is_sent_to_a_specification_s_address_until_the_address_is_accepted(
    toy: Path, home: Path, provider: Provider, call: Call
):
    path = specification(toy, home / "problem", model(provider))
    history = ("--history", home / "history")
    code, output = call("run", path, *SHORT, *history)
    assert code == 2
    assert provider.api_base in output
    assert "--trust-settings" in output
    assert not provider.keys
    assert not (home / "history").exists()
    assert call("run", path, *SHORT, *history, "--trust-settings")[0] == 0
    assert set(provider.keys) == {f"Bearer {KEY}"}
    assert call("run", path, *SHORT, *history)[0] == 0, "remembered"
    with Provider() as other:
        path.write_text(path.read_text().replace(provider.api_base, other.api_base))
        assert call("run", path, *SHORT, *history)[0] == 2, "another address must be accepted again"
        assert not other.keys


@pytest.mark.heavy
@pytest.mark.usefixtures("plain")
def test_no_key_is_sent_to_an_imported_run_s_address_until_the_address_is_accepted(
    toy: Path, home: Path, provider: Provider, call: Call, monkeypatch: pytest.MonkeyPatch
):
    theirs, ours = ("--history", home / "theirs"), ("--history", home / "ours")
    address = ("--model", "openai/x", "--api-base", provider.api_base)
    assert call("run", toy, *SHORT, *address, *theirs)[0] == 0
    assert call("resume", "last", "--generations", "1", *theirs)[0] == 0, (
        "the user who named the address need not name it again"
    )
    assert call("export", "last", "--write", home / "run.tar.zst", *theirs)[0] == 0
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "another user"))
    assert call("import", home / "run.tar.zst", *ours)[0] == 0
    before = len(provider.keys)
    code, output = call("resume", "last", "--generations", "1", *ours)
    assert code == 2
    assert provider.api_base in output
    assert len(provider.keys) == before
    assert call("replay", "last", *ours)[0] == 0, "a replay requests no completions"
    assert call("resume", "last", "--generations", "1", "--trust-settings", *ours)[0] == 0
    assert len(provider.keys) > before


PROPOSALS = [
    'sampling.models = [{ name = "openai/x", api_base = "http://127.0.0.1:9/v1" }]',
    'sampling.models = [{ name = "openai/x", fallbacks = [{ name = "openai/y", api_base = "http://127.0.0.1:9" }] }]',
    'sampling.models = ["huggingface/https://127.0.0.1:9/x"]',
    'sampling.models = ["bedrock/arn:aws:bedrock:127.0.0.1:9/x"]',
    'sandbox.image = "theirs:latest"',
    'sandbox.runtime = "theirs"',
    'sandbox.backend = "theirs"',
]
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "{}", "--history", "history"],
    "schedule": ["schedule", "add", "{}", "--cron", "0 22 * * *", "--history", "history"],
    "check": ["check", "--without-pace", "{}"],
    "compare": ["compare", "--problem", "{}", "--model", "builtin/mutate", "--model", "openai/z"],
}
CASES = [
    *((proposal, "run", place) for proposal in PROPOSALS for place in ("specification", "overnight.toml")),
    *((PROPOSALS[0], command, "specification") for command in ("schedule", "check")),
    *((PROPOSALS[4], command, "specification") for command in COMMANDS if command != "run"),
]
"""Every proposal by one command, and every command with that of an address and of an image; the flags of `compare` name
the models."""


@pytest.mark.parametrize(("proposal", "command", "place"), CASES)
def test_every_command_refuses_and_names_proposals_that_it_would_use(
    proposal: str, command: str, place: str, toy: Path, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(home)
    inside = [proposal] if place == "specification" else []
    path = specification(toy, home / "problem", 'known.baseline = "evaluate"', *inside)
    if place == "overnight.toml":
        (path.parent / place).write_text(proposal)
    code, output = call(*(argument.format(path) for argument in COMMANDS[command]))
    assert code == 2, output
    assert "--trust-settings" in output
    assert "Traceback" not in output
    assert not (home / "history").exists()


def test_a_flag_accepts_what_it_names_and_nothing_else(toy: Path, home: Path):
    given = {"sandbox": {"image": "mine:latest"}}
    path = specification(toy, home / "problem")
    (path.parent / "overnight.toml").write_text('sandbox.runtime = "theirs"')
    with pytest.raises(UntrustedSettings, match=r"sandbox\.runtime = theirs") as refused:
        accept(load_problem(path, given), given)
    assert "mine:latest" not in refused.value.message
    accept(load_problem(path, given), given, trust=True)
    accept(load_problem(path, given))


def chosen(name: str) -> dict[str, Any]:
    return {"sandbox": {"backend": name}}


def test_a_problem_s_files_never_choose_the_sandbox_backend_not_even_if_the_user_trusts_them(toy: Path, home: Path):
    path = specification(toy, home / "problem", 'sandbox.backend = "process"')
    with pytest.raises(UntrustedSettings, match=r"sandbox\.backend = process") as refused:
        accept(load_problem(path), trust=True)
    assert "--set sandbox.backend=docker" in refused.value.remedy
    accept(load_problem(path, chosen("docker")), chosen("docker"))


def test_a_backend_that_the_user_names_counts_for_this_problem_and_its_runs_and_for_no_other(toy: Path, home: Path):
    mine, theirs = specification(toy, home / "mine"), home / "theirs" / "toy.py"
    named = load_problem(mine, chosen("process"))
    accept(named, chosen("process"))
    stored = restore_problem(named.name, named.specification.text, named.settings.model_dump(mode="json"))
    require_trusted_sandbox(stored)
    theirs.parent.mkdir()
    theirs.write_text(
        mine.read_text().replace("# [tool.overnight]", '# [tool.overnight]\n# sandbox.backend = "process"', 1)
    )
    with pytest.raises(UntrustedSettings, match=r"sandbox\.backend = process"):
        accept(load_problem(theirs), trust=True)
    mine.write_text(mine.read_text() + "\n# changed\n")
    with pytest.raises(UntrustedSettings, match=r"sandbox\.backend = process"):
        require_trusted_sandbox(load_problem(mine, chosen("process")))


@pytest.mark.parametrize("name", ["command:claude", "relay:/tmp/answers"])
def test_a_command_or_a_folder_is_the_model_only_if_the_user_names_it_for_this_problem(
    toy: Path, home: Path, name: str
):
    given = {"sampling": {"models": [name]}}
    stranger = specification(toy, home / "stranger", f'sampling.models = ["{name}"]')
    mine = specification(toy, home / "mine", "noise = 0.5")
    for trust in (False, True):
        with pytest.raises(UntrustedSettings, match=name) as refused:
            accept(load_problem(stranger), trust=trust)
        assert "Only you can name a command or a folder" in refused.value.remedy
    named = accept(load_problem(mine, given), given)
    require_trusted_models(named, "a run of it")
    with pytest.raises(UntrustedSettings):
        accept(load_problem(stranger), trust=True)
    with pytest.raises(UntrustedSettings):
        require_trusted_models(load_problem(stranger), "a run of it")


ALGORITHM = """
from typing import Literal
from overnight.schemas.algorithm_settings import AlgorithmSettings

class SETTINGS(AlgorithmSettings):
    name: Literal["mine"] = "mine"
    latest: int = 3
"""


@pytest.fixture
def plugin(home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of an installed plug-in with an algorithm."""
    packages = home / "packages"
    packages.mkdir()
    install(packages, "algorithms", "mine", "algorithm_of_mine", ALGORITHM, package="my-package")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.delitem(sys.modules, "algorithm_of_mine", raising=False)
    return "algorithm_of_mine"


def test_the_algorithm_of_a_plug_in_is_not_imported_until_the_user_accepts_what_a_file_names(
    toy: Path, home: Path, plugin: str
):
    path = specification(toy, home / "problem")
    path.write_text(path.read_text().replace("{islands = 3, reset_generations = 2}", '{name = "mine", latest = 5}'))
    loaded = load_problem(path)
    with pytest.raises(UntrustedSettings, match=r"search\.algorithm = mine of my-package") as refused:
        accept(loaded)
    assert "--set search.algorithm=NAME" in refused.value.remedy
    assert plugin not in sys.modules
    algorithm: Any = accept(loaded, trust=True).settings.search.algorithm
    assert (type(algorithm).__module__, algorithm.latest) == (plugin, 5)
    assert accept(load_problem(path)).settings.search.algorithm == algorithm, "remembered"


def test_an_algorithm_that_the_user_names_is_accepted_and_its_settings_are_checked(toy: Path, home: Path, plugin: str):
    def accepted(**settings: object) -> Any:
        given = {"search": {"algorithm": {"name": "mine", **settings}}}
        return accept(load_problem(toy, given), given).settings.search.algorithm

    assert accepted(latest=5).latest == 5
    with pytest.raises(UsageError, match=r"search\.algorithm\.latest: Input should be a valid integer.*, got 'x'"):
        accepted(latest="x")
    with pytest.raises(UsageError, match=r"did you mean `search\.algorithm\.latest`"):
        accepted(latst=5)
    with pytest.raises(UsageError, match="the algorithm `mine` has no such setting"):
        accepted(epsilon=0.5)
    with pytest.raises(UsageError, match=r"expected one of 'greedy', .*'mine', got 'mien'"):
        load_problem(toy, {"search": {"algorithm": "mien"}})


def test_a_stored_run_is_read_without_its_plug_in_and_searched_with_it_only(
    toy: Path, home: Path, plugin: str, monkeypatch: pytest.MonkeyPatch
):
    given = {"search": {"algorithm": {"name": "mine", "latest": 5}}}
    problem = accept(load_problem(toy, given), given)
    settings = problem.settings.model_dump(mode="json")
    stored = restore_problem(problem.name, problem.specification.text, settings)
    assert stored.settings.model_dump(mode="json") == settings
    run = replace(a_run("a-run", stored), versions=versions(problem.settings))
    assert trusted_run(run).problem == problem
    with pytest.raises(UntrustedSettings, match="not accepted"):
        create_algorithm(stored.settings.search.algorithm, Program("start", "return 0", (0.0,), 0.0), 0)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(home / "packages")])
    assert restore_problem(problem.name, problem.specification.text, settings) == stored
    with pytest.raises(EnvironmentFault, match="mine is of my-package 1, which is not installed here") as refused:
        trusted_run(run)
    assert "my-package==1" in refused.value.remedy


def test_a_provider_of_a_plug_in_that_a_file_names_needs_consent(
    toy: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    packages = home / "packages"
    packages.mkdir()
    install(packages, "providers", "mine", "provider_of_mine", "raise RuntimeError('imported')\n", package="my-package")
    monkeypatch.syspath_prepend(packages)
    path = specification(toy, home / "problem", 'sampling.models = ["mine/x"]')
    with pytest.raises(UntrustedSettings, match=r"sampling\.models = mine of my-package: code of the package"):
        accept(load_problem(path))
    accept(load_problem(path), {"sampling": {"models": ["mine/x"]}})


def test_a_schedule_keeps_the_backend_that_it_was_made_with(toy: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    accept(load_problem(toy, chosen("process")), chosen("process"))
    accepted = [(proposal.setting, proposal.value) for proposal in proposals_of(load_problem(toy, chosen("process")))]
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "of the worker"))
    problem = load_problem(toy, chosen("process"))
    with pytest.raises(UntrustedSettings):
        require_trusted_sandbox(problem)
    remember(Start(problem=str(toy), seed=1, settings=chosen("process"), accepted=accepted).proposals())
    require_trusted_sandbox(problem)


def test_the_user_s_configuration_accepts_its_settings_and_overrides_the_problem_s(toy: Path, home: Path):
    (home / "config.toml").write_text('sandbox.image = "mine:latest"\n')
    path = specification(toy, home / "problem")
    (path.parent / "overnight.toml").write_text('sandbox.image = "theirs:latest"')
    loaded = load_problem(path)
    assert loaded.settings.sandbox.image == "mine:latest"
    accept(loaded)


def test_the_user_s_configuration_may_not_hold_settings_of_problems(toy: Path, home: Path, call: Call):
    (home / "config.toml").write_text("search.prompts = 3\n")
    code, output = call("run", toy)
    assert code == 2
    assert "expected [sampling], [sandbox], [cluster], [agents.NAME], [commands.NAME] or [plugins]" in output


def test_a_download_from_an_address_is_refused_until_it_is_accepted(toy: Path, home: Path):
    path = home / "toy.py"
    block = '# dependencies = ["x @ http://127.0.0.1:9/x-1.0-py3-none-any.whl"]\n# [tool.overnight]\n'
    path.write_text(toy.read_text().replace("# [tool.overnight]\n", block, 1))
    with pytest.raises(UntrustedSettings, match=r"http://127\.0\.0\.1:9/x-1\.0"):
        accept(load_problem(path))
    accept(load_problem(path), trust=True)


def test_a_scheduled_night_uses_the_proposals_that_were_accepted_with_the_schedule(toy: Path, home: Path):
    path = specification(toy, home / "problem")
    (path.parent / "overnight.toml").write_text('sandbox.image = "theirs:latest"')
    start = Start(problem=str(path), seed=1)
    with pytest.raises(UntrustedSettings):
        create_if_missing("toy-1", LocalBackend(home / "history"), start)
    accepted = Start(problem=str(path), seed=1, accepted=[("sandbox.image", "theirs:latest")])
    with pytest.raises(Exception, match="the engine has no image"):
        create_if_missing("toy-1", LocalBackend(home / "history"), accepted)


def test_accepted_proposals_are_readable_by_the_user_only_and_a_truncated_line_is_ignored(toy: Path, home: Path):
    given = {"sandbox": {"image": "mine:latest"}}
    accept(load_problem(toy, given), given)
    file = state_folder() / "accepted-settings.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["value"] == "mine:latest"
    file.write_text(file.read_text() + '{"setting": "sandb')
    accept(load_problem(toy, given))


@pytest.mark.parametrize(
    "name",
    ["openai/gpt-5-mini", "builtin/mutate", "ollama/qwen3:8b", "openrouter/a/b:free", "bedrock/anthropic.claude-v1:0"],
)
def test_a_plain_model_name_is_no_proposal(name: str):
    assert model_proposals(Sampling(models=(Model(name=name),))) == []


def test_the_user_s_configuration_file_may_be_a_link(toy: Path, home: Path):
    (home / "mine.toml").write_text("sandbox.slots = 1\n")
    (home / "config.toml").symlink_to(home / "mine.toml")
    assert load_problem(toy).settings.sandbox.slots == 1


def test_a_user_configuration_that_is_no_toml_is_reported(toy: Path, home: Path, call: Call):
    (home / "config.toml").write_text("sandbox = [\n")
    code, output = call("run", toy)
    assert code == 2
    assert "not valid TOML" in output
