"""Which cluster a command uses: the flag's, the environment's, the configuration file's, or none; and its machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from overnight.flows.cluster.certificates import VARIABLE as CERTIFICATES
from overnight.flows.cluster.certificates import cluster_folder
from overnight.flows.cluster.choice import VARIABLE, choose_cluster, named_cluster, require_named_cluster
from overnight.flows.cluster.inspect import InspectedMachine, inspect_machine
from overnight.flows.cluster.worker_name import worker_name
from overnight.schemas.errors import UsageError
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.dask_client import Connection, Machine, MachineLost
from overnight.tasks.evaluate.cluster.messages import Answer, answer_bytes
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


def test_workers_of_one_host_have_a_name_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with worker_name("host") as first, worker_name("host") as second, worker_name("other") as other:
        assert (first, second, other) == ("host", "host-2", "other")
    with worker_name("host") as again:
        assert again == "host"


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


# What is told of the machines of a cluster: who can be used, and what to do about those that cannot


ENGINE = Answer(facts={"engine": "Docker 26", "image": "there"})


class OneMachine:
    """`Connection` to a machine that tells what it is told to; `None` stands for no answer."""

    def __init__(self, facts: dict[str, str] | None = None, engine: Answer | None = ENGINE) -> None:
        self._answers = {"examine": Answer(facts=facts or tasks.facts()), "describe_engine": engine}

    def submit(self, address: str, task: Callable[..., bytes], *args: object) -> Any:
        answer = self._answers[task.__name__]
        if task.__name__ == "describe_engine":
            assert args == ("docker", "sha256:1")

        class Pending:
            def answer(self, timeout_s: float) -> bytes:
                if answer is None:
                    raise MachineLost("no answer within 20 s")
                return answer_bytes(answer)

        return Pending()


def inspected(machine: OneMachine) -> InspectedMachine:
    there = Machine("tls://1.2.3.4:5", "one", 4)
    connection = cast(Connection, machine)
    return inspect_machine(connection, there, where="tls://head:8786", backend="docker", image="sha256:1")


def test_a_machine_that_can_be_used_has_no_problem():
    found = inspected(OneMachine())
    assert (found.name, found.slots, found.engine, found.image) == ("one", 4, "Docker 26", "there")
    assert set(found.versions) == {"Overnight", "Python"}
    assert (found.problem, found.remedy) == ("", "")


def test_an_image_that_a_machine_lacks_is_no_problem_since_it_is_sent():
    found = inspected(OneMachine(engine=Answer(facts={"engine": "Docker 26", "image": "missing"})))
    assert (found.image, found.problem) == ("sent at first use", "")


@pytest.mark.parametrize(
    ("machine", "problem", "remedy"),
    [
        (
            OneMachine({**tasks.facts(), "Python": "3.9", "build": "abc"}),
            "it has Python 3.9, the head",
            "Install on one what this machine has, and start there: overnight cluster worker tls://head:8786",
        ),
        (OneMachine(engine=Answer(fault="no Docker engine answers")), "no Docker", "Look on one: overnight doctor"),
        (
            OneMachine(engine=None),
            "does not answer: no answer within 20 s",
            "Start it again on one: overnight cluster worker tls://head:8786",
        ),
    ],
    ids=["another version", "no engine", "no answer"],
)
def test_what_keeps_a_machine_from_being_used_is_told_with_the_next_command(
    machine: OneMachine, problem: str, remedy: str
):
    found = inspected(machine)
    assert found.problem.startswith(problem)
    assert found.remedy == remedy
