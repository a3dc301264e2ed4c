"""Test a problem's own files in the sandbox: every process has them, read-only, and no other problem does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

import docker
import pytest

from overnight.schemas.files import File
from overnight.schemas.job import Call, Command, Isolation, Job
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome
from overnight.tasks.evaluate import images
from overnight.tasks.evaluate.backends.docker import DockerBackend
from overnight.tasks.evaluate.pool import SandboxPool, open_pool

pytestmark = pytest.mark.docker

HELPER = b"FACTOR = 10\ndef scaled(n):\n    return FACTOR * n\n"
OWN = File("own.txt", str(os.getpid()).encode())  # so that each process of a test run removes an image of its own
FILES = (File("data.csv", b"2,3\n"), File("helper.py", HELPER), File("deep/er/data.txt", b"7"), OWN)
SPECIFICATION = """
from pathlib import Path
import helper

DATA = [int(cell) for cell in open("data.csv").read().split(",")]
DEEP = int((Path(__file__).parent / "deep/er/data.txt").read_text())

def evaluate(n):
    return helper.scaled(guess(n)) + DATA[1] + DEEP

def guess(n):
    {body}
"""
HONEST = SPECIFICATION.format(body="return helper.FACTOR + int(open('data.csv').read(1)) + n")
HONEST_SCORES = (160.0, 170.0)
JOB = Job("evaluate", (Call((3,)), Call((4,))), Limits(wall_s=5, memory_mib=128))


@pytest.fixture(scope="module")
def image(sandbox_image: str) -> Iterator[str]:
    yield from made(sandbox_image, FILES)


def made(base: str, files: Sequence[File]) -> Iterator[str]:
    """Yield an image with the files, and remove it afterwards."""
    connected = DockerBackend(runners=1)
    name = images.with_files(connected, base, files)
    yield name
    connected.close()
    client = docker.from_env()
    client.images.remove(name)
    client.close()


@pytest.fixture(scope="module")
def pool(image: str) -> Iterator[SandboxPool]:
    with open_pool(JOB, image=image, slots=1) as pool:
        yield pool


def test_files_are_opened_and_imported_by_name(pool: SandboxPool):
    verdict = pool.evaluate(HONEST)
    assert verdict.scores == HONEST_SCORES, verdict


def test_both_processes_of_an_isolated_evaluation_have_the_files(image: str):
    with open_pool(replace(JOB, isolation=Isolation(("guess",), HONEST)), image=image, slots=1) as pool:
        verdict = pool.evaluate(HONEST)
    assert verdict.scores == HONEST_SCORES, verdict


@pytest.mark.parametrize(
    "lines",
    [
        "open('data.csv', 'a')",
        "import os; os.unlink('helper.py')",
        "import os; os.chmod('data.csv', 0o777)",
        "open('new', 'w')",
        "open('deep/er/new', 'w')",
        "import os; os.rename('deep', 'shallow')",
    ],
)
def test_files_cannot_be_changed(lines: str, pool: SandboxPool):
    verdict = pool.evaluate(SPECIFICATION.format(body=lines + "; return 1"))
    assert verdict.outcome is Outcome.CRASHED
    assert verdict.error.startswith(("PermissionError", "OSError: [Errno 30] Read-only")), verdict.error


def test_a_program_s_changes_to_a_module_do_not_outlive_it(pool: SandboxPool):
    pool.evaluate(SPECIFICATION.format(body="helper.FACTOR = 1000; return 1"))
    assert pool.evaluate(HONEST).scores == HONEST_SCORES


def test_a_helper_may_have_the_name_of_a_loaded_module(sandbox_image: str):
    for name in made(sandbox_image, [File("json.py", b"raise ValueError"), File("frames.py", b"x = 5")]):
        with open_pool(JOB, image=name, slots=1) as pool:
            source = "import frames, json\ndef evaluate(n):\n    return frames.x + len(json.dumps(n))"
            assert pool.evaluate(source).scores == (6.0, 6.0)


def test_a_command_has_the_files_in_its_working_directory(sandbox_image: str):
    files = [
        File("evaluate.py", b"import climb, json, helper\nprint(json.dumps({'score': helper.scaled(climb.x)}))"),
        File("helper.py", HELPER + b"from pathlib import Path\nFACTOR = int(Path('data/factor').read_text())"),
        File("data/factor", b"4"),
        File("run.sh", b'#!/bin/sh\nexec python3 evaluate.py "$1"\n'),
    ]
    command = Command("climb.py", ("./run.sh", "{program}"), metric="score")
    job = Job("", (Call((None,)),), Limits(wall_s=5, memory_mib=128, scratch_mib=8), command=command)
    for name in made(sandbox_image, files):
        with open_pool(job, image=name, slots=1) as pool:
            assert pool.evaluate("x = 3").scores == (12.0,)
            verdict = pool.evaluate("open('/overnight/files/data/factor', 'w')")
            assert "Read-only file system" in verdict.error, verdict.error
            assert pool.evaluate("x = 2").scores == (8.0,)


def test_the_image_is_built_once_and_differs_for_other_content(sandbox_image: str, image: str):
    connected = DockerBackend(runners=1)
    made_at = connected.image_id(image)
    assert images.with_files(connected, sandbox_image, FILES) == image
    assert connected.image_id(image) == made_at
    connected.close()
    for other in made(sandbox_image, [replace(FILES[0], content=b"3,2\n"), *FILES[1:]]):
        assert other != image
        with open_pool(JOB, image=other, slots=1) as pool:
            assert pool.evaluate(HONEST).scores == (169.0, 179.0)
