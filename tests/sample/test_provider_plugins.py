"""The provider of a model is ours, LiteLLM's, or a plug-in's."""

from __future__ import annotations

from pathlib import Path

import pytest

from overnight.tasks.sample import provider
from overnight.tasks.sample.provider import own_provider, provider_of, provider_plugin
from overnight.tasks.sample.providers.litellm import LiteLLMProvider
from tests.plugins import install


def test_a_plug_in_answers_for_models_of_its_name_and_takes_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("mine", "openai", "builtin"):
        install(tmp_path, "providers", name, f"provider_{name}", "create = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provider, "_loaded", {})
    assert provider_of("mine/x") == {}
    assert (own_provider("mine/x"), own_provider("openai/x"), own_provider("builtin/mutate")) == (
        "mine",
        None,
        "builtin",
    )
    assert isinstance(provider_of("openai/x"), LiteLLMProvider)
    assert provider_of("builtin/mutate") != {}
    assert provider_plugin("mine") is None, "a name without a part of its own is LiteLLM's"
