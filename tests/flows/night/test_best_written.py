"""`overnight best --write`: the program that is written runs on the held-out inputs, though the best one may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.flows.cli.main import run
from overnight.testing.fake_provider import Provider, says
from tests.flows.conftest import JUDGED, Night

pytestmark = pytest.mark.heavy


FAILS = "return offset + 9.0 if offset < 3 else 1 / 0"
HOLDS = "return offset + 8.0"


@pytest.mark.parametrize("bodies", [(FAILS, HOLDS), (FAILS,)])
def test_the_next_finalist_is_written_where_the_best_one_fails_on_held_out_inputs(
    bodies: tuple[str, ...],
    night: Night,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    provider: Provider,
    asks: dict[str, Any],
):
    codes = [f"```python\ndef guess(offset):\n    {body}\n```" for body in bodies]
    provider.script = lambda _, request: says(request, *codes)
    night(1, settings={**asks, **JUDGED, "search": {"prompts": 1, "samples": len(bodies)}})
    capsys.readouterr()
    assert run(["best", "last", "--history", str(tmp_path), "--write", str(tmp_path / "better.py")]) == 0
    said = capsys.readouterr().err
    assert "gets no score on the held-out inputs" in said
    assert "the next finalist" in said
    written = (tmp_path / "better.py").read_text()
    assert (HOLDS if HOLDS in bodies else "return offset + 1.0") in written
    assert "1 / 0" not in written
