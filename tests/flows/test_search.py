"""A night, for real: Prefect, Docker, Parquet, and models over HTTP."""

from __future__ import annotations

import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import flows.night.night
import flows.night.retry_policy
from flows.night.open_run import OpenRun
from flows.night.replay import open_replay, read_recorded_run, replay
from flows.night.search import search
from flows.night.stop_conditions import StopConditions
from schemas.bundle import Source
from schemas.errors import TerminalProviderError, UsageError
from schemas.generation import GenerationRecord
from schemas.outcome import Outcome
from tasks.history.atomic_files import read_file, write_file
from tasks.history.database import Database
from tasks.history.files import RunFiles
from tasks.history.local_backend import LocalBackend
from tests.flows.conftest import JUDGED, Night
from tests.provider import Answer, Provider, response_body

pytestmark = [pytest.mark.docker, pytest.mark.prefect]

_TIMES = {
    "asked_at", "judged_at", "started_at", "ended_at", "latency_s", "wall_s", "cpu_s", "peak_mib", "sample_s",
    "evaluate_s", "select_s", "flow_run_id", "night",
}  # fmt: skip


def everything(files: RunFiles) -> dict[str, pa.Table]:
    """All that a run has committed, apart from times."""
    found = {}
    for path in sorted(files.directory.glob("generations/*/*.parquet")):
        table = read_file(path)
        found[f"{path.parent.name}/{path.name}"] = table.drop_columns([c for c in table.column_names if c in _TIMES])
    return found


def test_a_night_leaves_generations_a_population_and_its_own_row(night: Night, tmp_path: Path):
    night(3, run_id="swept", settings=JUDGED)
    history = Database(tmp_path)
    (run,) = history.rows("FROM runs")
    assert run["generations"] == 3
    assert run["samples"] == 3 * 3 * 2
    assert run["best_score"] >= run["start_score"]
    (row,) = history.rows("FROM nights")
    assert (row["stop_reason"], row["generations"], row["samples"]) == ("generations", 3, 18)
    assert row["finalists"][0]["validation"] is not None
    assert row["finalists"][0]["held_out"] is not None
    counts = history.rows("SELECT generation, count(*) AS n FROM programs GROUP BY generation ORDER BY generation")
    assert [(c["generation"], c["n"]) for c in counts] == [(0, 1), (1, 6), (2, 6), (3, 6)]
    assert history.rows("SELECT reset_niches FROM generations WHERE generation = 2")[0]["reset_niches"]
    assert containers("swept") == [], "no container is left"


@pytest.mark.parametrize("samples", [8, 15])
def test_a_night_asks_for_the_samples_that_were_wanted_and_no_more(
    night: Night, tmp_path: Path, provider: Provider, samples: int
):
    models = [{"name": "openai/test", "api_base": provider.api_base}]
    night(9, run_id="few", max_samples=samples, settings={"sampling": {"models": models}})
    asked = sum(request.get("n", 1) for request in provider.requests)
    assert asked == samples
    history = Database(tmp_path)
    (run,) = history.rows("FROM runs")
    (row,) = history.rows("FROM nights")
    assert (run["samples"], row["samples"], row["stop_reason"]) == (samples, samples, "samples")
    places = history.rows("SELECT sample FROM programs WHERE generation > 0 ORDER BY sample")
    assert [place["sample"] for place in places] == list(range(1, samples + 1))


def test_a_run_goes_on_after_a_night_of_few_samples_and_replays(night: Night, tmp_path: Path):
    files = night(9, run_id="few", max_samples=8)
    search("few", str(tmp_path), StopConditions(max_samples=6))
    with open_replay(read_recorded_run(files), LocalBackend(tmp_path / "again")) as session:
        assert replay(read_recorded_run(files), session).first is None
    assert Database(tmp_path).rows("SELECT samples FROM nights ORDER BY night") == [{"samples": 8}, {"samples": 6}]


def test_a_night_that_was_killed_counts_what_it_committed(night: Night, tmp_path: Path):
    files = night(3)
    row = read_file(files.night(1))
    stale = {"ended_at": None, "generations": 1, "samples": 2, "best_after": -100.0, "cost_usd": 0.0}
    for name, value in stale.items():
        column = pa.array([value], row.schema.field(name).type)
        row = row.set_column(row.schema.get_field_index(name), row.schema.field(name), column)
    write_file(files.backend, files.night(1), row)
    history = Database(tmp_path)
    (found,) = history.rows("SELECT generations, samples, best_after, best_program_id FROM nights")
    (run,) = history.rows("SELECT generations, samples, best_score, best_program_id FROM runs")
    assert list(found.values()) == list(run.values())


def test_a_night_s_row_is_kept_up_while_it_is_under_way(night: Night, monkeypatch: pytest.MonkeyPatch):
    rows, write = [], flows.night.night.record.write_night
    monkeypatch.setattr(flows.night.night, "_ROW_S", 0.0)
    monkeypatch.setattr(
        flows.night.night.record, "write_night", lambda files, row: (rows.append(row), write(files, row))
    )
    night(3)
    under_way = [row for row in rows if row.ended_at is None]
    assert {row.generations: row.samples for row in under_way} == {0: 0, 1: 6, 2: 12, 3: 18}
    assert under_way[-1].best_after >= under_way[0].best_after


def test_it_reads_in_prefect_as_the_design_says(night: Night, prefect: str):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName

    files = night(2, run_id="named")
    flow_run_id = Database(files.directory.parent.parent).rows("FROM generations WHERE generation = 1")[0][
        "flow_run_id"
    ]
    with get_client(sync_client=True) as client:
        names = FlowRunFilter(name=FlowRunFilterName(any_=["named-night-1", "named-g1", "named-g2"]))
        runs = client.read_flow_runs(flow_run_filter=names)
        assert {run.name for run in runs} == {"named-night-1", "named-g1", "named-g2"}
        assert all(run.state is not None and run.state.is_completed() for run in runs)
        tasks = _task_names(client, FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    assert {"sample-1", "evaluate-1", "select"} <= tasks


def _task_names(client: Any, which: Any) -> set[str]:
    """Task runs are recorded some seconds late."""
    import time

    tasks: set[str] = set()
    for _ in range(60):
        tasks = {run.name for run in client.read_task_runs(flow_run_filter=which)}
        if "select" in tasks:
            return tasks
        time.sleep(0.5)
    return tasks


@pytest.fixture
def confirmed(sandbox_image: str) -> dict[str, Any]:
    """Settings of nights in which each best is confirmed."""
    return {"sandbox": {"image": sandbox_image, "slots": 2, "confirm": "best"}}


_undisturbed: dict[str, pa.Table] = {}


@pytest.fixture
def undisturbed(night: Night, confirmed: dict[str, Any], tmp_path: Path) -> dict[str, pa.Table]:
    """All that an undisturbed night of four generations commits; it runs once for all tests."""
    if not _undisturbed:
        _undisturbed.update(everything(night(4, history=tmp_path / "undisturbed", settings=confirmed)))
    return _undisturbed


def test_another_seed_gives_another_history(night: Night, confirmed: dict[str, Any], undisturbed: dict, tmp_path: Path):
    other = everything(night(1, history=tmp_path / "other", settings=confirmed, seed=2))
    assert other["000001/programs.parquet"] != undisturbed["000001/programs.parquet"]


def test_resuming_from_files_alone_gives_what_an_undisturbed_night_of_the_same_seed_gives(
    night: Night, confirmed: dict[str, Any], undisturbed: dict, tmp_path: Path
):
    halves = night(2, settings=confirmed)
    night(2)
    assert everything(halves) == undisturbed


def containers(run_id: str) -> list[str]:
    import docker

    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"overnight.run={run_id}"}, ignore_removed=True)
        return [container.id or "" for container in found]
    finally:
        client.close()


def test_chat_models_are_asked_over_http_and_their_answers_scored(
    night: Night, provider: Provider, asks: dict, tmp_path: Path
):
    night(2, settings=asks)
    rows = Database(tmp_path).rows("SELECT outcome, model, tokens_in, latency_s FROM programs WHERE generation > 0")
    assert {row["model"] for row in rows} == {"openai/test"}
    assert sum(row["tokens_in"] for row in rows) == 100 * len(provider.requests)
    assert Counter(row["outcome"] for row in rows)["scored"] >= 3


BODIES = {
    Outcome.SCORED: "return offset + 2.0",
    Outcome.CRASHED: "raise ValueError('no')",
    Outcome.TIMED_OUT: "while True: pass",
    Outcome.OUT_OF_MEMORY: "x = bytearray(2 * 1024 ** 3)\n    return 1.0",
    Outcome.OUTPUT_LIMIT: "print('x' * 1_000_000)\n    return 1.0",
    Outcome.BAD_SCORE: "return float('nan')",
    Outcome.REJECTED: "return guess_v0(offset)",
}


def test_every_outcome_can_be_seen_in_the_history(night: Night, provider: Provider, asks: dict, tmp_path: Path):
    texts = [f"def guess_v9(offset):\n    {body}" for body in BODIES.values()]
    texts += ["I am sorry.", texts[0]]

    def answer(number: int, request: dict) -> Answer:
        choice = {"index": 0, "message": {"role": "assistant", "content": texts[number]}, "finish_reason": "stop"}
        return Answer({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    provider.script = answer
    asks["sampling"]["concurrency"] = 1
    night(
        1,
        settings={
            **asks,
            "search": {"prompts": len(texts), "samples": 1, "algorithm": {"islands": 2}},
            "limits": {"wall_s": 1},
        },
    )
    rows = Database(tmp_path).rows("SELECT outcome, score, error FROM programs WHERE generation = 1")
    assert Counter(row["outcome"] for row in rows) == Counter(
        [outcome.value for outcome in BODIES] + [Outcome.UNPARSABLE.value, Outcome.DUPLICATE.value]
    )
    for row in rows:
        assert (row["score"] is not None) == (row["outcome"] == "scored")
        assert bool(row["error"]) == (row["outcome"] != "scored")


def test_a_failed_generation_is_written_down_and_tried_again_and_nothing_is_bought_twice(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    provider.script = lambda number, _: Answer({"error": {"message": "busy"}}, status=503) if number == 1 else None
    night(1, settings=asks)
    rows = Database(tmp_path).rows("FROM generations WHERE generation = 1 ORDER BY attempt")
    assert [(row["attempt"], row["state"]) for row in rows] == [(1, "failed"), (2, "committed")]
    assert "503" in rows[0]["error"] or "busy" in rows[0]["error"]
    assert len(provider.requests) == 3 + 1, "three prompts, one of which failed once"


def test_an_outage_pauses_the_night_which_goes_on_by_itself(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    provider.script = lambda number, _: Answer({"error": {"message": "busy"}}, status=503) if number < 8 else None
    night(2, settings={**asks, "search": {"failures": 3}})
    assert Database(tmp_path).rows("FROM nights")[0]["stop_reason"] == "generations"
    assert len(provider.requests) == 8 + 2 * 3, "one request for each attempt in the outage, none for each in flight"


@pytest.mark.slow
def test_an_outage_ends_with_the_deadline_and_resume_goes_on(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    provider.script = lambda number, _: Answer({"error": {"message": "busy"}}, status=503)
    night(2, settings=asks, until=datetime.now(UTC) + timedelta(seconds=6))
    assert Database(tmp_path).rows("FROM nights")[0]["stop_reason"] == "deadline"
    provider.script = lambda number, _: None
    night(2)
    assert Database(tmp_path).rows("FROM runs")[0]["generations"] == 2


def test_a_wrong_key_costs_the_requests_in_flight_and_no_night(night: Night, provider: Provider, asks: dict):
    provider.script = lambda number, _: Answer({"error": {"message": "bad key"}}, status=401)
    with pytest.raises(TerminalProviderError):
        night(2, settings=asks)
    assert len(provider.requests) <= 3, "none is repeated, and nothing is asked for the next generation"


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ({"target": -1e9}, "target"),
        ({"until": datetime.now(UTC) + timedelta(seconds=0.1)}, "deadline"),
        pytest.param({"max_samples": 6}, "samples", marks=pytest.mark.slow),
        pytest.param({"max_tokens": 1}, "tokens", marks=pytest.mark.slow),
        pytest.param({"budget_usd": 0.0}, "budget", marks=pytest.mark.slow),
    ],
)
def test_a_night_says_why_it_stopped(night: Night, tmp_path: Path, rules: dict, reason: str):
    night(3, **rules)
    assert Database(tmp_path).rows("FROM nights")[0]["stop_reason"] == reason


def test_a_night_counts_the_samples_of_what_it_committed(night: Night, provider: Provider, asks: dict, tmp_path: Path):
    sorry = {"index": 0, "message": {"role": "assistant", "content": "I am sorry."}, "finish_reason": "stop"}
    provider.script = lambda _, request: Answer(response_body(request, [sorry] * request["n"], "chat.completion"))
    provider.latency_s = 1.0
    night(5, settings=asks, patience=1)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert (row["stop_reason"], row["generations"]) == ("patience", 1)
    assert row["samples"] == 6, "those of the generation that was committed"
    paid = sum(len(answer["choices"]) for answer in provider.responses)
    assert 6 < paid <= 6 + 16, "no more than the window are in flight"


def test_two_nights_of_one_run_never_run_at_once(night: Night, tmp_path: Path):
    files = night(1)
    with Holder(files), pytest.raises(UsageError, match="another process"):
        search("toy", str(tmp_path), StopConditions(generations=1))
    night(1)


class Holder:
    """Another process that holds the run."""

    def __init__(self, files: RunFiles) -> None:
        code = (
            "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
        )
        self._process = subprocess.Popen(
            ["python3", "-c", code, str(files.directory / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def test_a_budget_is_overshot_by_no_more_than_what_is_in_flight(
    night: Night, provider: Provider, asks: dict, tmp_path: Path
):
    asks["sampling"]["models"][0]["name"] = "openai/gpt-4o"  # LiteLLM knows its price: 100 and 40 tokens are $0.00065
    asks["sampling"]["concurrency"] = 2
    night(50, settings={**asks, "search": {"prompts": 6, "samples": 2}}, budget_usd=0.005)
    (row,) = Database(tmp_path).rows("FROM nights")
    price = row["cost_usd"] / len(provider.requests)
    assert price > 0
    assert row["stop_reason"] == "budget"
    assert 0.005 <= row["cost_usd"] <= 0.005 + 2 * price


def fail_once(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, error: Exception, when: Any) -> list[int]:
    """Makes one call of a function fail: the first for whose arguments `when` holds, after it has done its work."""
    original, failed = getattr(target, name), []

    def failing(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if not failed and when(*args):
            failed.append(1)
            raise error
        return result

    monkeypatch.setattr(target, name, failing)
    return failed


def test_what_is_bought_ahead_is_not_bought_again_when_an_attempt_fails(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from schemas.errors import SandboxUnavailable
    from tasks.evaluate.evaluator import Evaluator

    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    provider.latency_s = 0.3
    error = SandboxUnavailable("the engine is gone")
    failed = fail_once(monkeypatch, Evaluator, "judge", error, when=lambda *_: len(provider.requests) > 3)
    night(4, settings=asks)
    assert failed
    assert len(provider.requests) == 4 * 3
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["samples"] == 4 * 6


def test_an_error_after_the_commit_is_no_failure_and_the_session_is_what_the_files_say(
    night: Night, confirmed: dict[str, Any], undisturbed: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from tasks.history import record

    error = OSError(5, "input/output error")
    failed = fail_once(monkeypatch, record, "commit", error, when=lambda _, generation: generation.number == 2)
    broken = night(4, history=tmp_path / "broken", settings=confirmed)
    assert failed
    assert everything(broken) == undisturbed
    assert {row["state"] for row in Database(tmp_path / "broken").rows("FROM generations")} == {"committed"}


def test_a_commit_that_fails_leaves_the_population_as_it_was(
    night: Night, confirmed: dict[str, Any], undisturbed: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from schemas.errors import EnvironmentFault

    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    write, failed = OpenRun.write, list[int]()

    def full(self: OpenRun, generation: GenerationRecord) -> None:
        if generation.number == 2 and not failed:
            failed.append(2)
            raise EnvironmentFault("no space left")
        write(self, generation)

    monkeypatch.setattr(OpenRun, "write", full)
    broken = night(4, history=tmp_path / "broken", settings=confirmed)
    assert failed
    programs = {name: table for name, table in everything(broken).items() if not name.endswith("generation.parquet")}
    assert programs == {name: table for name, table in undisturbed.items() if name in programs}


def test_a_full_disk_stops_the_buying(
    night: Night, provider: Provider, asks: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from schemas.errors import EnvironmentFault
    from tasks.history.journal import Journal

    def full(*_: Any) -> None:
        raise EnvironmentFault("no space left")

    monkeypatch.setattr(flows.night.retry_policy, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(Journal, "record", full)
    asks["sampling"]["concurrency"] = 1
    with pytest.raises(EnvironmentFault):
        night(2, settings={**asks, "search": {"retries": 0, "failures": 1}})
    assert len(provider.requests) == 1
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["samples"] == 0, "nothing was committed"


def test_a_fault_of_the_sandbox_in_the_final_costs_no_finalist_its_place(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import flows.night.final_evaluation
    from schemas.outcome import Verdict

    honest = flows.night.final_evaluation.evaluate_with_retry
    monkeypatch.setattr(
        flows.night.final_evaluation,
        "evaluate_with_retry",
        lambda sandbox, source, **more: honest(Flaky(sandbox), source, **more),
    )

    class Flaky:
        def __init__(self, sandbox: Any) -> None:
            self._sandbox, self._calls = sandbox, 0

        def evaluate(self, source: Source) -> Verdict:
            self._calls += 1
            return self._sandbox.evaluate(source) if self._calls > 1 else Verdict(Outcome.SANDBOX_ERROR, error="ours")

        def close(self) -> None: ...

    night(2, settings=JUDGED)
    finalists = Database(tmp_path).rows("FROM nights")[0]["finalists"]
    assert len(finalists) == len({finalist["program_id"] for finalist in finalists})
    assert all(finalist["validation"] is not None for finalist in finalists)


def test_the_final_is_waited_for_through_any_number_of_pauses(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from schemas.errors import SandboxUnavailable

    pauses = iter(range(1200))
    judge = flows.night.night.judge_finalists

    def unavailable_for_long(session: Any) -> Any:
        if next(pauses, None) is not None:
            raise SandboxUnavailable("the engine is gone")
        return judge(session)

    monkeypatch.setattr(flows.night.night, "judge_finalists", unavailable_for_long)
    monkeypatch.setattr(flows.night.night.Night, "_show", lambda *_, **__: None)
    monkeypatch.setattr(flows.night.retry_policy, "LONGEST_WAIT_S", 0.0)
    night(1, settings=JUDGED)
    (row,) = Database(tmp_path).rows("FROM nights")
    assert row["finalists"]
    assert (row["stop_reason"], row["paused_by"]) == ("generations", "the engine is gone")


def test_what_a_provider_refuses_is_said_in_the_history(night: Night, provider: Provider, asks: dict, tmp_path: Path):
    refusal = {"error": {"message": "This model's maximum context length is 10 tokens."}}
    provider.script = lambda number, _: Answer(refusal, status=400)
    night(1, settings=asks)
    rows = Database(tmp_path).rows("SELECT DISTINCT outcome, error FROM programs WHERE generation = 1")
    assert [row["outcome"] for row in rows] == ["unparsable"]
    assert "maximum context length" in rows[0]["error"]
