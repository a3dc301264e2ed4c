"""The worked examples of an algorithm, a sandbox backend, a provider and a skeleton pass the contract of their seam."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from overnight.schemas.algorithm import Algorithm
from overnight.schemas.skeleton import Skeleton
from overnight.tasks.evaluate.pool import open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import runner_config
from tests.contract import test_algorithm as contract
from tests.contract import test_backend as backend_contract
from tests.contract import test_completion_source as source_contract
from tests.contract import test_skeleton as skeleton_contract
from tests.examples import json_numbers_codec, llamacpp, recent
from tests.examples.json_numbers import Numbers
from tests.plugins import install
from tests.provider import Answer, Provider

CONTRACT = Path(contract.__file__).parent

_OF_SHIPPED_KINDS = (
    skeleton_contract.test_there_is_an_example_of_every_kind,
    skeleton_contract.test_it_is_restored_from_its_text_and_the_settings_of_the_run,
    skeleton_contract.test_the_built_in_model_answers_the_prompt_with_new_programs,
)
SKELETON_CHECKS = [
    check
    for name, check in inspect.getmembers(skeleton_contract, inspect.isfunction)
    if name.startswith("test_") and "kind" in inspect.signature(check).parameters and check not in _OF_SHIPPED_KINDS
]


def checks_of(suite: types.ModuleType) -> list[Any]:
    return [check for name, check in inspect.getmembers(suite, inspect.isfunction) if name.startswith("test_")]


@pytest.mark.parametrize("check", checks_of(contract), ids=lambda check: check.__name__)
def test_the_example_of_an_algorithm_passes_the_contract(check: Any):
    def make(seed: int = 0, **settings: Any) -> Algorithm:
        return recent.create(recent.RecentSettings(**settings), contract.START, seed)

    seeds = [{"seed": seed} for seed in range(5)] if "seed" in inspect.signature(check).parameters else [{}]
    for arguments in seeds:
        check(make, **arguments)


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the example's backend, installed as a package of its own."""
    install(tmp_path, "sandboxes", "command_line", "tests.examples.command_line")
    monkeypatch.syspath_prepend(tmp_path)
    return "command_line"


@pytest.mark.docker
@pytest.mark.parametrize("check", checks_of(backend_contract), ids=lambda check: check.__name__)
def test_the_example_of_a_backend_passes_the_contract(check: Any, command_line: str, sandbox_image: str):
    config = runner_config(backend_contract.JOB, sandbox_image, {}, None)
    with contextlib.closing(create_backend(command_line)) as backend:
        given = {"kind": command_line, "backend": backend, "sandbox_image": sandbox_image, "config": config}
        check(**{name: given[name] for name in inspect.signature(check).parameters})


@pytest.mark.docker
def test_the_example_of_a_backend_judges_programs_as_every_sandbox_does(
    command_line: str, sandbox_image: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(CONTRACT)
    from tests.contract import test_sandbox as suite

    with open_pool(suite.JOB, backend=command_line, image=sandbox_image, slots=1) as pool:
        for case in suite.CASES[::12]:
            suite.test_a_program_is_judged_by_its_own_behaviour_and_does_not_affect_the_next_one(True, pool, case)


@pytest.fixture
def gateway(provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> source_contract.Make:
    """Makes a gateway to the example's provider, with a server on loopback."""
    install(tmp_path, "providers", "llamacpp", llamacpp.__name__)
    monkeypatch.syspath_prepend(tmp_path)

    def make(answers: int | None = None, fails: int | None = None, held: threading.Event | None = None) -> Any:
        model = {"name": "llamacpp/test", "api_base": provider.api_base}
        subject = source_contract.of_gateway(
            model, lambda: len(provider.requests), answers=answers, one_at_a_time=bool(fails or held)
        )
        faults = source_contract.script(lambda: subject, fails, held)
        provider.script = lambda number, request: faults(number, request) or Answer(llama_answer(request))
        return subject

    return make


def llama_answer(request: dict[str, Any]) -> dict[str, Any]:
    assert request["n_predict"] == 16384
    return {"content": f"# {request['seed']}", "stop_type": "eos", "tokens_evaluated": 20, "tokens_predicted": 3}


SOURCE_CHECKS = [
    pytest.param(check, arguments, id=f"{check.__name__}{arguments[:1] or ''}")
    for check in checks_of(source_contract)
    for arguments in (source_contract.FAILURES if "status" in inspect.signature(check).parameters else [()])
]


@pytest.mark.parametrize(("check", "arguments"), SOURCE_CHECKS)
def test_the_example_of_a_provider_passes_the_contract_of_completion_sources(
    check: Any, arguments: tuple[Any, ...], gateway: source_contract.Make
):
    check(gateway, *arguments)


def test_the_example_of_a_provider_reports_text_tokens_and_no_cost(gateway: source_contract.Make):
    subject = gateway()
    first, second, *_ = subject.submit().result(source_contract.LONG_S)
    assert (first.text, second.text) == ("# 0", "# 1"), "each sample has its own seed"
    assert (first.tokens_in, first.tokens_out, first.cost_usd, first.finish_reason) == (20, 3, 0.0, "stop")


class NumbersKind(skeleton_contract.Kind):
    """The example's kind of skeleton."""

    @property
    def skeleton(self) -> Skeleton:
        return Numbers("numbers.json", '{\n"x": 1,\n"y": 2.5\n}\n')


def numbers(_: Skeleton, texts: list[str]) -> str:
    """Return a body whose numbers follow from the letters of the texts, and whose layout from their blanks."""
    x, y = (sum(map(ord, "".join(text.split()))) for text in texts)
    return json.dumps({"x": x, "y": y}, indent=texts[0].count(" "))


@pytest.fixture
def numbers_kind(monkeypatch: pytest.MonkeyPatch) -> NumbersKind:
    """The example's kind of skeleton, with its codec in place."""
    monkeypatch.setitem(sys.modules, f"overnight.tasks.sample.codecs.{Numbers.kind}", json_numbers_codec)
    texts = st.lists(st.text("abc 123", min_size=1), min_size=1).map("\n".join)
    return NumbersKind("", numbers, texts, skeleton_contract.answer_with_the_blocks)


@pytest.mark.parametrize("check", SKELETON_CHECKS, ids=lambda check: check.__name__)
def test_the_example_of_a_kind_of_skeleton_passes_the_contract(check: Any, numbers_kind: NumbersKind):
    check(kind=numbers_kind)
