"""How an agent is named and defined, and what is said of one that cannot work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from overnight.flows.cli.options import RunOptions
from overnight.flows.start import sandboxes
from overnight.flows.start.sandboxes import build_agent_images, require_agents
from overnight.schemas.agent_settings import PRESETS
from overnight.schemas.errors import EnvironmentFault, OvernightError, SpecificationError, UsageError
from overnight.schemas.sampling_settings import Model
from overnight.schemas.settings import parse_settings
from overnight.schemas.trust import model_proposals
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.user_config import user_agent
from overnight.tasks.sample.provider import require_keys

LOCAL = "http://127.0.0.1:1/v1"


def settings_of(*models: str, **more: object):
    listed = [{"name": name, "style": "chat"} for name in models]
    return parse_settings({**more, "sampling": {"models": listed, **more.pop("sampling", {})}}, "a test")  # type: ignore[dict-item]


def test_its_model_is_named_after_it_with_the_address_and_prices_of_its_entry():
    model = Model(name="agent:pi/openai/gpt-5", api_base=LOCAL, input_usd=1, output_usd=2)
    assert model.agent == "pi"
    assert model.asked == Model(name="openai/gpt-5", api_base=LOCAL, input_usd=1, output_usd=2)
    assert Model(name="openai/gpt-5").agent == ""


def test_the_flag_adds_an_agent_with_the_first_model_beside_all_models():
    given = RunOptions(model=["openai/a=3", "openai/b"], api_base=LOCAL, agent=["pi", "mini-swe-agent"]).settings()
    models = given["sampling"]["models"]
    names = ["openai/a", "openai/b", "agent:pi/openai/a", "agent:mini-swe-agent/openai/a"]
    assert [model["name"] for model in models] == names
    assert [model["weight"] for model in models[:2]] == ["3", "1"]
    assert {model["api_base"] for model in models} == {LOCAL}


LISTED = f"""
[[sampling.models]]
name = "openai/relay"
api_base = "{LOCAL}"
input_usd = 1.0
output_usd = 2.0
rpm = 7

[[sampling.models]]
name = "openai/other"
weight = 3
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration file, with two models."""
    path = tmp_path / "config.toml"
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(path))
    path.write_text(LISTED)
    return path


ENTRY = {"api_base": LOCAL, "input_usd": 1.0, "output_usd": 2.0, "rpm": 7.0}


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"model": ["openai/relay"]}, ["openai/relay"]),
        ({"model": ["agent:pi/openai/relay"]}, ["agent:pi/openai/relay"]),
        ({"model": ["openai/relay"], "agent": ["pi"]}, ["openai/relay", "agent:pi/openai/relay"]),
    ],
)
def test_a_model_that_a_flag_names_has_its_entry_of_the_configuration_file(
    config: Path, flags: dict[str, list[str]], names: list[str]
):
    models = RunOptions(**flags).settings()["sampling"]["models"]  # type: ignore[arg-type]
    assert [one["name"] for one in models] == names
    assert all(one.items() >= ENTRY.items() for one in models)


def test_what_a_flag_says_comes_before_the_entry(config: Path):
    (model,) = RunOptions(model=["openai/other"]).settings()["sampling"]["models"]
    assert model["weight"] == 3
    other = "http://127.0.0.1:2/v1"
    (model,) = RunOptions(model=["openai/relay=5"], api_base=other).settings()["sampling"]["models"]
    assert (model["weight"], model["api_base"], model["rpm"]) == ("5", other, 7)


def test_an_agent_alone_works_with_the_first_model_of_the_configuration_file_beside_all(config: Path):
    models = RunOptions(agent=["pi"]).settings()["sampling"]["models"]
    assert [one["name"] for one in models] == ["openai/relay", "openai/other", "agent:pi/openai/relay"]
    assert models[2].items() >= ENTRY.items()
    config.write_text(f'{LISTED}[[sampling.models]]\nname = "agent:pi/openai/relay"\nrpm = 2\n')
    assert RunOptions(agent=["pi"]).settings()["sampling"]["models"][-1]["rpm"] == 2


def test_a_flag_without_a_model_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="no model for the agent") as refused:
        RunOptions(agent=["pi"]).settings()
    assert "--model" in refused.value.remedy


@pytest.mark.parametrize("name", PRESETS)
def test_known_agents_need_no_definition_and_one_of_the_users_goes_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    known = user_agent(name)
    assert known.command
    (tmp_path / "config.toml").write_text(f'[agents.{name}]\npreset = "{name}"\nmemory_mib = 99\n')
    assert user_agent(name) == known.model_copy(update={"memory_mib": 99})


@pytest.mark.parametrize(
    ("text", "said"),
    [("[agents.x]\n", "needs its words"), ('[agents.x]\ncommand = ["a"]\nat_once = 0\n', "agents.x.at_once")],
)
def test_a_wrong_definition_is_named(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        user_agent("x")


@pytest.mark.parametrize(
    ("models", "more", "said"),
    [
        (["agent:pi"], {}, "expected agent:NAME/MODEL"),
        (["agent:/openai/a"], {}, "expected agent:NAME/MODEL"),
        (["agent:pi/openai/a"], {"sampling": {"batch_api": True}}, "Batch API cannot"),
    ],
)
def test_settings_that_cannot_be_are_refused(models: list[str], more: dict, said: str):
    with pytest.raises(UsageError, match=said):
        settings_of(*models, **more)


def test_an_agent_that_is_not_defined_is_named_with_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="there is no agent 'nobody'; expected one of mini-swe-agent, pi"):
        require_agents(settings_of("agent:nobody/openai/a"))


def test_plain_processes_cannot_confine_one():
    with pytest.raises(UsageError, match="agents work in containers, which the sandbox 'process' has not"):
        require_agents(settings_of("agent:pi/openai/a", sandbox={"backend": "process"}))


class NoImages:
    """A backend that cannot build."""

    own_users = True

    def __init__(self, error: OvernightError) -> None:
        self._error = error

    def prepare(self, *_: object) -> str:
        raise self._error

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            SpecificationError("there is no package nobody", remedy="Correct the problem."),
            r"packages` of \[agents.mine\]",
        ),
        (EnvironmentFault("the index does not answer", remedy="Check the network."), "Check the network"),
    ],
)
def test_an_image_that_does_not_build_names_the_agent_and_the_way_out(
    error: OvernightError, remedy: str, config: Path, monkeypatch: pytest.MonkeyPatch
):
    config.write_text('[agents.mine]\ncommand = ["a"]\npackages = ["nobody"]\n')
    monkeypatch.setattr(sandboxes, "create_backend", lambda _: NoImages(error))
    problem = load_problem(find("cap-set"), {"sampling": {"models": ["agent:mine/openai/a"]}})
    with pytest.raises(OvernightError, match=f"the image of the agent mine cannot be built: {error.message}") as raised:
        build_agent_images(problem, lambda _: None)
    assert re.search(remedy, raised.value.remedy)


@pytest.mark.parametrize("model", ["builtin/mutate", "command:claude", "relay:/tmp/answers"])
def test_it_needs_a_model_that_takes_conversations(model: str):
    with pytest.raises(UsageError, match="takes whole prompts only"):
        require_keys(settings_of(f"agent:pi/{model}").sampling)


def test_its_address_needs_consent_as_that_of_any_model():
    sampling = settings_of("agent:pi/openai/a").sampling
    assert model_proposals(sampling) == []
    model = {"name": "agent:pi/openai/a", "api_base": LOCAL}
    (proposal,) = model_proposals(parse_settings({"sampling": {"models": [model]}}, "a test").sampling)
    assert proposal.value == f"openai/a at {LOCAL}"


def test_candidates_of_a_prompt_have_room_for_all_that_an_agent_has_scored():
    assert settings_of("openai/a").candidates_per_prompt == 4
    assert settings_of("openai/a", "agent:pi/openai/a").candidates_per_prompt == 13
    assert settings_of("agent:pi/openai/a", agent={"evaluations": 0}).candidates_per_prompt == 4
