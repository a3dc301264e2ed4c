"""Agents in real containers: what they can do there, and what the harmful ones cannot."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from overnight.schemas.agent_settings import AgentSettings
from overnight.schemas.program import Completion
from overnight.tasks.agent import clock
from overnight.tasks.agent.source import AgentSource, Workplace
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import RunnerConfig, SandboxBackend
from overnight.testing.fake_provider import Answer, Provider
from tests.agent.scripted import Office, problem

pytestmark = pytest.mark.docker

STAND_IN = (Path(__file__).parent / "stand_in.py").read_text()
BETTER = "printf 'def f(x):\\n    return x * 2\\n' > program/program.py"
SECRET = "sk-that-no-container-may-see"


@pytest.fixture(scope="module")
def backend(sandbox_image: str) -> Iterator[SandboxBackend]:
    made = create_backend("docker", runners=2)
    yield made
    made.close()


class Site:
    """Lets agents work in containers, one after the other."""

    def __init__(self, backend: SandboxBackend, image: str, api_base: str) -> None:
        self._backend, self._image, self._api_base = backend, image, api_base

    def run(self, *command: str, **limits: float) -> list[Completion]:
        agent = AgentSettings(command=command)
        office = Office(problem(self._api_base, **{"seconds": 60, **limits}))
        config = RunnerConfig(self._image, 256, {"overnight.run": "agents"}, scratch_mib=32, may_execute=True)
        place = Workplace("scripted", agent, partial(self._backend.start, config), threading.Semaphore(1))
        source = office.source()
        source = AgentSource({"scripted": place}, source.bench, 1, office.store, office.sessions)
        return source.submit(office.wanted(), office.record).result(timeout=120)

    def shell(self, script: str, **limits: float) -> Completion:
        return self.run("sh", "-c", script, **limits)[0]


@pytest.fixture
def site(backend: SandboxBackend, sandbox_image: str, provider: Provider) -> Site:
    return Site(backend, sandbox_image, provider.api_base)


def output_of(completion: Completion) -> str:
    return json.loads(completion.transcript)["output"]


def test_an_agent_asks_its_model_runs_commands_has_programs_scored_and_hands_one_back(site: Site, provider: Provider):
    commands = ["cat TASK.md", f"{BETTER}; overnight-evaluate", "echo doubled > IDEA.md"]

    def script(_: int, request: dict) -> Answer:
        place = sum(one["role"] == "assistant" for one in request["messages"])
        arguments = json.dumps({"command": commands[place]}) if place < len(commands) else ""
        call = {"id": f"c{place}", "type": "function", "function": {"name": "bash", "arguments": arguments}}
        message = {"role": "assistant", "content": "so", **({"tool_calls": [call]} if arguments else {})}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if arguments else "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
        return Answer({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    provider.script = script
    handed, *_ = site.run("python3", "-c", STAND_IN, "{task}")
    assert handed.text == "# idea: doubled\n\nprogram.py\n```python\ndef f(x):\n    return x * 2\n```\n"
    assert handed.tokens_in + handed.tokens_out == 40
    assert provider.requests[1]["messages"][-1]["content"].startswith("Improve a program in this folder")
    assert '"score": 10.0' in provider.requests[2]["messages"][-1]["content"]


DIAL = 'import socket; socket.create_connection(("192.0.2.1", 80), 2)'
HARMFUL = {
    "no network": (f"python3 -c '{DIAL}' 2>&1 | tail -1", "unreachable"),
    "no user of this machine, and no right": ("id; touch /etc/passwd; kill -9 1", "uid=1000 gid=1000 groups=1000"),
    "nothing outside of its folder can be written": ("echo 1 > /overnight; echo 1 > /usr/x", "Read-only file system"),
    "its files have a limit": ("head -c 99999999 /dev/zero > /tmp/big; rm /tmp/big", "No space left"),
    "what it leaves behind is ended": ("(while :; do echo '#' >> program/x.py; done) & echo over", "over"),
    "its output is cut": ("head -c 9999999 /dev/zero | tr '\\0' x; echo over", "over"),
    "it may fail": ("echo over; trap 'exit 3' EXIT", "over"),
}


@pytest.mark.parametrize(("script", "said"), HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_agent_is_confined_and_its_program_counts(site: Site, script: str, said: str):
    handed = site.shell(f"{script}; {BETTER}")
    assert "x * 2" in handed.text
    assert said in output_of(handed)
    assert len(output_of(handed)) <= 20_000


HOPELESS = {
    "it hands back a link": ("ln -sf /etc/hostname program/program.py", "cannot be read"),
    "it hands back a pipe": ("rm program/program.py; mkfifo program/program.py", "it is no file"),
    "it hands back too much": ("head -c 2000000 /dev/zero | tr '\\0' '#' > program/program.py", "more than"),
    "it removes everything": ("rm -rf program", "cannot be read: No such file"),
    "it hands back nothing": ("echo done", "without a change"),
    "it fills the memory": ("python3 -c 'x = bytearray(10**9)'", "agent"),
}


@pytest.mark.parametrize(("script", "error"), HOPELESS.values(), ids=HOPELESS)
def test_an_agent_that_hands_nothing_back_has_an_error(site: Site, script: str, error: str):
    assert error in site.shell(script).error


@pytest.mark.parametrize(
    "script", ["while :; do :; done", "f() { f | f & }; f; sleep 99", "trap '' TERM INT; sleep 99"]
)
def test_one_that_does_not_end_is_ended_with_all_that_it_started(
    site: Site, script: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(clock, "FIRST_REQUEST_S", 2.0)
    begin = time.monotonic()
    handed = site.shell(f"{BETTER}; {script}", seconds=2)
    assert time.monotonic() - begin < 60
    assert "x * 2" in handed.text or "container ended" in handed.error


def test_what_it_leaves_in_its_folder_is_kept_but_for_hidden_given_and_large_files(site: Site):
    leaves = (
        "echo notes > notes.md; mkdir -p tools .cache; echo x > tools/fit.py; echo x > .cache/y; echo x > .hidden; "
        "head -c 999999 /dev/zero | tr '\\0' x > large; head -c 99 /dev/zero > zeros; "
        "ln -s /etc/passwd link; mkfifo pipe"
    )
    handed = site.shell(f"{leaves}; {BETTER}")
    assert json.loads(handed.transcript)["files"] == {"notes.md": "notes\n", "tools/fit.py": "x\n"}


def test_its_tools_say_how_they_are_used_for_nothing(site: Site):
    handed = site.shell(f"overnight-evaluate --help; overnight-sql --help; overnight-sql; {BETTER}")
    assert (
        output_of(handed).count("usage: overnight-evaluate or overnight-try (without arguments), or overnight-sql") == 3
    )
    assert json.loads(handed.transcript)["events"] == []


def test_a_command_that_is_not_there_is_named(site: Site):
    handed, *_ = site.run("no-such-agent", "{task}")
    assert handed.error == "the agent did not run: no-such-agent cannot be run: No such file or directory"


def test_keys_of_this_machine_are_neither_in_a_container_nor_in_a_transcript(
    site: Site, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    handed = site.shell(f"env; {BETTER}")
    assert "OPENAI_API_KEY=none-is-needed" in output_of(handed)
    assert SECRET not in handed.transcript
