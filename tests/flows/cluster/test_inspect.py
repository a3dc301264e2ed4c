"""What is told of the machines of a cluster: who can be used, and what to do about those that cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from overnight.flows.cluster.inspect import InspectedMachine, inspect_machine
from overnight.tasks.evaluate.cluster import machine as tasks
from overnight.tasks.evaluate.cluster.dask_client import Connection, Machine, MachineLost
from overnight.tasks.evaluate.cluster.messages import Answer, answer_bytes

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
