"""Test where wheels are looked for: where uv's variables say."""

from __future__ import annotations

import os

import pytest

from overnight.tasks.evaluate import packages


@pytest.fixture(autouse=True)
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("UV_", "SSL_CERT")):
            monkeypatch.delenv(name)


def test_uv_s_configuration_files_are_ignored_unless_the_environment_names_one(monkeypatch: pytest.MonkeyPatch):
    assert "--no-config" in packages.uv_flags()
    monkeypatch.setenv("UV_CONFIG_FILE", "/mine/uv.toml")
    assert "--no-config" not in packages.uv_flags()


def test_a_password_in_an_address_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    assert packages.describe_indexes() == "looked for at the usual index"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://user:password@mirror/simple")
    assert packages.describe_indexes() == "looked for at the index of your settings"
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    assert packages.describe_indexes() == "looked for in /wheels"
    monkeypatch.delenv("UV_FIND_LINKS")
    assert packages.describe_indexes() == "but no index or folder to look in is set"
