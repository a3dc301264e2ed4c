"""What tests of nights share: all that a run committed, its replay, its containers, and a model."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa

from overnight.flows.night.recorded_run import read_recorded_run
from overnight.flows.night.replay import open_replay, replay
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.differences import VARYING, Comparison
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.testing.fake_provider import Answer, Request, says


def everything(files: RunFiles) -> dict[str, pa.Table]:
    """Return all that a run has committed, apart from times and nights."""
    found = {}
    for path in sorted(files.directory.glob("generations/*/*.parquet")):
        table = read_file(path)
        found[f"{path.parent.name}/{path.name}"] = table.drop_columns(
            [c for c in table.column_names if c in VARYING | {"night"}]
        )
    return found


def replayed(files: RunFiles, into: Path) -> tuple[Comparison, RunFiles]:
    """Repeat a run from its recorded completions; return what differs, and the files of the repetition."""
    then = read_recorded_run(files)
    with open_replay(then, LocalBackend(into)) as session:
        found = replay(then, session)
    return found, files_of(LocalBackend(into), files.run_id)


def require_replay(files: RunFiles, into: Path) -> None:
    """Require that a run comes out the same when it is repeated without a break.

    A replay is one search from the first generation to the last, so this also holds nights that were resumed to what
    a night alone would have done.
    """
    found, again = replayed(files, into)
    assert found.first is None, found.first
    assert everything(again) == everything(files)


_BODIES = ("return offset + {0}", "raise ValueError('no luck with {0}')", "return offset - {0}")


def by_prompt(_number: int, request: Request) -> Answer:
    """An answer that depends on what is asked alone, so that two nights are answered alike."""
    asked = request["messages"][-1]["content"]
    texts = []
    for place in range(request.get("n", 1)):
        drawn = int.from_bytes(hashlib.sha256(f"{asked}/{place}".encode()).digest()[:4])
        code = f"def guess(offset):\n    {_BODIES[drawn % 3].format(drawn % 9)}"
        texts.append(f"```python\n{code}\n```")
    return says(request, *texts)


def containers(run_id: str) -> list[str]:
    """Return the ids of a run's containers."""
    import docker

    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"overnight.run={run_id}"}, ignore_removed=True)
        return [container.id or "" for container in found]
    finally:
        client.close()
