"""The site of the documentation: built strictly, without network, and readable on a wide screen and on a phone."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.browser import Page
from tests.report.conftest import chromium as chromium
from tests.report.conftest import page as page

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a link or an anchor that leads nowhere, and a docstring that names no parameter, are errors."""
    folder = tmp_path_factory.mktemp("site")
    # A proxy that nothing listens at, so that a download would fail.
    offline = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--config-file", "infra/site/mkdocs.yml"]
    done = subprocess.run(
        [*build, "--site-dir", folder], cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class has that name
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


PAGES = ("index", "commands", "api", "interfaces", "schemas/index", "tasks/history/index", "tasks/problems/gallery")


def test_each_page_is_about_something(site: Path):
    package = "tests/examples/plugin_package"
    for name in (*PAGES, f"{package}/overnight_example/recent.py", f"{package}/contents"):
        assert (site / f"{name}.html").is_file(), name
    assert "overnight schedule add" in (site / "commands.html").read_text()
    assert "PromptResult" in (site / "interfaces.html").read_text()


def test_lists_are_lists_and_code_in_them_is_code(site: Path):
    text = (site / "index.html").read_text()
    assert "<p>- " not in text
    assert "```" not in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_each_screen_and_loads_nothing_from_elsewhere(page: Page, address: str, name: str):
    for width in (1280, 390):
        page.open(f"{address}/{name}.html", width=width)
        assert page.value("document.documentElement.scrollWidth") <= width, name
        assert page.value("[...document.images].every((one) => one.complete && one.naturalWidth > 0)"), name
    assert page.console == []
    assert {request for request in page.requests if not request.startswith((address, "data:", "blob:"))} == set()
