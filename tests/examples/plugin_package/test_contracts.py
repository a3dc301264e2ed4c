"""The algorithm, the sandbox backend, the provider and the notification service pass the contracts of their seams."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from overnight_example import recent

from overnight.flows.night.notifications import Notification, Notifier, send, service_of
from overnight.schemas.algorithm import Algorithm
from overnight.testing.algorithms import START, AlgorithmContract, Make
from overnight.testing.completion_sources import LONG_S, ProviderContract, Subject, of_gateway, script
from overnight.testing.fake_provider import Answer, Provider
from overnight.testing.sandboxes import CASES, SandboxContract


class TestRecent(AlgorithmContract):
    """The algorithm."""

    @pytest.fixture
    def make(self) -> Make:
        def make(seed: int = 0) -> Algorithm:
            return recent.create(recent.RecentSettings(), START, seed)

        return make


@pytest.fixture(scope="module")
def kind() -> str:
    """The name of the sandbox backend."""
    return "command_line"


@pytest.mark.docker
class TestCommandLine(SandboxContract):
    """The sandbox backend. Try one of your own with all cases."""

    cases = CASES[::12]


class TestLlamaCpp(ProviderContract):
    """The provider, with a server on loopback."""

    @pytest.fixture
    def make(self, provider: Provider) -> Any:
        def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Subject:
            model = {"name": "llamacpp/test", "api_base": provider.api_base}
            subject = of_gateway(
                model, lambda: len(provider.requests), answers=answers, one_at_a_time=bool(fails or held)
            )
            faults = script(lambda: subject, fails, held)
            provider.script = lambda number, request: faults(number, request) or Answer(llama_answer(request))
            return subject

        return make

    def test_it_reports_text_tokens_and_no_cost(self, make: Any):
        first, second, *_ = make().submit().result(LONG_S)
        assert (first.text, second.text) == ("# 0", "# 1"), "each sample has its own seed"
        assert (first.tokens_in, first.tokens_out, first.cost_usd, first.finish_reason) == (20, 3, 0.0, "stop")


def llama_answer(request: dict[str, Any]) -> dict[str, Any]:
    assert request["n_predict"] == 16384
    return {"content": f"# {request['seed']}", "stop_type": "eos", "tokens_evaluated": 20, "tokens_predicted": 3}


def test_the_notebook_gets_the_notifications_of_a_night(tmp_path: Path):
    warnings: list[str] = []
    with (
        pytest.raises(RuntimeError),
        Notifier([f"notebook://{tmp_path}/said"], warn=warnings.append).reporting_failure("r1"),
    ):
        raise RuntimeError("the engine is gone")
    assert (tmp_path / "said").read_text() == "Overnight: r1 failed\nthe engine is gone\n\n"
    assert not warnings


def test_a_notebook_that_cannot_be_written_is_a_fault(tmp_path: Path):
    assert send(service_of(f"notebook://{tmp_path}", 1), Notification("info", "title", "text"))
