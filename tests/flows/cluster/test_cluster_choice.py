"""Which cluster a command uses: the flag's, the environment's, the configuration file's, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.flows.cluster.certificates import VARIABLE as CERTIFICATES
from overnight.flows.cluster.certificates import cluster_folder
from overnight.flows.cluster.choice import VARIABLE, choose_cluster, named_cluster, require_named_cluster
from overnight.schemas.errors import UsageError
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.user_config import user_settings
from overnight.testing.made import TOY


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a configuration file; nothing else names a cluster."""
    monkeypatch.setenv(VARIABLE, "")  # set, so that what a test chooses ends with it
    monkeypatch.delenv(CERTIFICATES, raising=False)
    monkeypatch.setenv("OVERNIGHT_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_without_a_name_nights_evaluate_on_this_machine(config: Path):
    assert named_cluster() == ""
    choose_cluster(None)
    assert named_cluster() == ""


def test_the_flag_comes_before_the_environment_and_that_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch):
    config.write_text('[cluster]\naddress = "tls://file:8786"\n')
    assert named_cluster() == "tls://file:8786"
    monkeypatch.setenv(VARIABLE, "tls://environment:8786")
    assert named_cluster() == "tls://environment:8786"
    choose_cluster(None)
    assert named_cluster() == "tls://environment:8786"
    choose_cluster("tls://flag:8786")
    assert named_cluster() == "tls://flag:8786"


@pytest.mark.parametrize("none", ["none", ""])
def test_none_is_this_machine_alone_whatever_the_file_says(config: Path, none: str):
    config.write_text('[cluster]\naddress = "local:2"\n')
    choose_cluster(none)
    assert named_cluster() == ""


def test_the_cluster_of_the_file_is_no_setting_of_a_run(config: Path):
    config.write_text('sandbox.slots = 1\n[cluster]\naddress = "local:2"\n')
    assert user_settings() == {"sandbox": {"slots": 1}}
    assert load_problem(TOY).settings.sandbox.slots == 1


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ('adress = "tls://head:8786"', "cluster.adress: Extra inputs", "[cluster] has address and certificates"),
        ("address = 8786", "cluster.address: Input should be a valid string", "Your configuration file"),
        ('address = "tcp://head:8786"', "cluster.address: expected an encrypted address", "tls://head:8786"),
        ('address = "local:0"', "cluster.address: expected local: and a number", "--cluster local:2"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_the_file(config: Path, text: str, message: str, remedy: str):
    config.write_text(f"[cluster]\n{text}\n")
    with pytest.raises(UsageError) as raised:
        named_cluster()
    assert raised.value.message.startswith(f"{config}: {message}")
    assert remedy in raised.value.remedy


def test_a_command_that_needs_a_cluster_says_where_to_name_one(config: Path):
    assert require_named_cluster("tls://given:1", "overnight cluster show") == "tls://given:1"
    with pytest.raises(UsageError, match="none is named") as raised:
        require_named_cluster(None, "overnight cluster show")
    assert "overnight cluster show tls://HOST:PORT" in raised.value.remedy
    assert str(config) in raised.value.remedy
    config.write_text('[cluster]\naddress = "tls://file:8786"\n')
    assert require_named_cluster(None, "overnight cluster show") == "tls://file:8786"


def test_certificates_are_those_of_the_environment_then_of_the_file(config: Path, monkeypatch: pytest.MonkeyPatch):
    state = cluster_folder()
    config.write_text('[cluster]\ncertificates = "mine"\n')
    assert cluster_folder() == config.parent / "mine" != state
    config.write_text('[cluster]\ncertificates = "/elsewhere"\n')
    assert cluster_folder() == Path("/elsewhere")
    monkeypatch.setenv(CERTIFICATES, "/named")
    assert cluster_folder() == Path("/named")
