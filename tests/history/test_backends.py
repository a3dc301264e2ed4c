"""How the place that a user names becomes a history backend."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from overnight.schemas.errors import OvernightError
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.local_backend import LocalBackend

if TYPE_CHECKING:
    from tests.objects import ObjectServer


def test_a_directory_is_named_as_it_was_typed_and_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    history = open_history("my history")
    assert history == LocalBackend(Path("my history"))
    assert history.location == "my history"
    assert history.absolute_location == str(tmp_path / "my history")
    assert not history.root.exists(), "a history is created by its first run"


def test_a_file_url_names_a_directory(tmp_path: Path):
    assert open_history(f"file://{tmp_path}/history") == LocalBackend(tmp_path / "history")


def test_the_same_url_has_the_same_copy_and_a_location_that_leads_back_to_it(bucket: str):
    first, second = open_history(bucket), open_history(f"{bucket}/")
    assert first.root == second.root
    assert first.location == first.absolute_location == bucket
    assert open_history(first.location).root == first.root


def test_opening_a_history_that_has_a_copy_asks_the_store_nothing(bucket: str, objects: ObjectServer):
    history = open_history(bucket)
    with objects.down():
        assert open_history(bucket).root == history.root


@pytest.mark.parametrize("location", ["nosuch://place/histories", "s3://", "s3://key:secret@bucket/prefix"])
def test_a_url_of_no_store_is_refused_and_leaves_no_copy_behind(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OVERNIGHT_CACHE", str(tmp_path))
    with pytest.raises(OvernightError) as caught:
        open_history(location)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
