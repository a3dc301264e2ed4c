"""The user's own image and runtime, named on the command line."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.flows.cli.conftest import Command, call

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


@pytest.fixture
def own_image(sandbox_image: str) -> Iterator[str]:
    """A copy of the sandbox image with an additional file."""
    client = docker.from_env()
    name = f"overnight-test-own:{uuid.uuid4().hex[:12]}"
    recipe = f"FROM {sandbox_image}\nRUN [\"python3\", \"-c\", \"open('/opt/ten', 'w').write('10')\"]\n"
    client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True, network_mode="none")
    yield name
    client.images.remove(name)
    client.close()


@pytest.fixture
def image_dependent(toy: Path, tmp_path: Path) -> str:
    """A specification that reads that file."""
    path = tmp_path / "needs.py"
    path.write_text(toy.read_text().replace("10.0", "float(open('/opt/ten').read())"))
    return str(path)


@pytest.mark.slow
def test_a_resumed_run_uses_the_image_and_runtime_that_it_was_started_with(
    image_dependent: str, own_image: str, tmp_path: Path, prefect_api: str
):
    named = ["--image", own_image, "--runtime", "runc"]
    assert "two runs agree" in call(["check", "--without-pace", image_dependent, *named], tmp_path).stderr
    without = call(["run", image_dependent, "--generations", "1", "--seed", "1"], tmp_path)
    assert without.returncode == 2
    assert "/opt/ten" in without.stderr
    for command in (["run", image_dependent, "--seed", "1", *named], ["resume", "last"]):
        done = call([*command, "--generations", "1"], tmp_path, PREFECT_API_URL=prefect_api)
        assert done.returncode == 0, done.stderr
    (row,) = json.loads(call(["sql", "FROM runs", "--format", "json"], tmp_path).stdout)
    sandbox = json.loads(row["settings"])["sandbox"]
    assert (sandbox["image"], sandbox["runtime"]) == (own_image, "runc")
    assert row["samples"] == 12


def test_a_flag_wins_over_a_setting(overnight: Command, image_dependent: str):
    both = overnight(
        "check", "--without-pace", image_dependent, "--set", "sandbox.image=nowhere", "--image", "elsewhere"
    )
    assert both.returncode == 3
    assert "no image 'elsewhere'" in both.stderr
