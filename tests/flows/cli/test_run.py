"""`overnight run` before its night: wrong addresses of models are errors at once, and Ctrl-C is heard at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from overnight.flows.cli import foreground_night, printing
from overnight.flows.cli.main import run
from overnight.flows.cli.readiness import require_listening
from overnight.schemas.errors import EnvironmentFault, ExitCode
from overnight.schemas.sampling_settings import Model, Sampling
from tests.flows.cli.conftest import Command
from tests.ports import free_port


def at(port: int, *fallbacks: int) -> Model:
    others = tuple(at(fallback) for fallback in fallbacks)
    return Model(name=f"openai/{port}", api_base=f"http://127.0.0.1:{port}/v1", fallbacks=others)


def test_each_model_or_a_fallback_of_it_has_to_listen(monkeypatch: pytest.MonkeyPatch):
    closed, other = free_port(), free_port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        listening = server.getsockname()[1]
        require_listening(Sampling(models=(at(listening), at(closed, listening))))
        with pytest.raises(EnvironmentFault, match=f"openai/{closed}: nothing answers at .*:{closed}/v1: Connection"):
            require_listening(Sampling(models=(at(listening), at(closed, other))))
    require_listening(Sampling())
    require_listening(Sampling(models=(Model(name="openai/hosted"),)))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    require_listening(Sampling(models=(at(closed),)))


@pytest.mark.parametrize("command", ["run", "compare"])
def test_a_wrong_port_ends_a_night_before_it_begins(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    problem = ["cap-set"] if command == "run" else ["--problem", "cap-set", "--model", "builtin/mutate"]
    models = ["--model", "openai/x", "--api-base", f"http://127.0.0.1:{free_port()}/v1"]
    assert run([command, *problem, *models, "--history", str(tmp_path / "history")]) == 3
    assert "Start that server, or name its address with --api-base" in capsys.readouterr().err
    assert not (tmp_path / "history").exists()


@pytest.mark.usefixtures("plain")
def test_ctrl_c_while_prefect_is_loaded_finishes_the_generation_whose_prompts_are_asked(
    here: Command, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @contextlib.contextmanager
    def loads_slowly() -> Iterator[None]:
        os.kill(os.getpid(), signal.SIGINT)
        yield

    monkeypatch.setattr(foreground_night, "_flows_loaded", loads_slowly)
    done = here(["run", str(toy), "--model", "builtin/mutate", "--generations", "5"], tmp_path / "history")
    assert done.returncode == ExitCode.INTERRUPTED
    assert "finishing this generation" in done.stderr
    assert "night 1: 1 generation" in done.stdout + done.stderr


def test_a_night_goes_on_when_what_reads_its_output_has_ended(monkeypatch: pytest.MonkeyPatch):
    for name in ("stdout", "stderr"):
        reader, writer = os.pipe()
        os.close(reader)
        monkeypatch.setattr("sys." + name, os.fdopen(writer, "w"))
    printing.err.cache_clear()
    foreground_night.write_event({"event": "generation"})
    foreground_night.write_event({"event": "night"})
    printing.say("a message")
    printing.err.cache_clear()
