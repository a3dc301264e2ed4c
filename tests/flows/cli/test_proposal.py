"""Limits that `overnight check` proposes, and the command that it names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.flows.cli.check import next_command
from overnight.flows.cli.start_program import long_limit, print_limits, propose
from overnight.flows.formatting import round_up
from overnight.flows.start.create_run import higher_limit
from overnight.schemas.limits_settings import Limits
from overnight.schemas.outcome import Outcome, Verdict


def verdict(*seconds: float, cpu_s: float = 0.1, peak_mib: float = 25.0) -> Verdict:
    return Verdict(Outcome.SCORED, (1.0,) * len(seconds), cpu_s=cpu_s, peak_mib=peak_mib, input_wall_s=seconds)


@pytest.mark.parametrize(("value", "rounded"), [(0.0, 0), (0.3, 0.5), (1, 1), (1.1, 2), (21, 50), (50, 50), (51, 100)])
def test_values_are_rounded_up_to_round_numbers(value: float, rounded: float):
    assert round_up(value) == pytest.approx(rounded)


def test_the_slowest_input_of_any_split_counts():
    limits = propose([verdict(0.1, 0.4), verdict(0.9), verdict(0.2, cpu_s=3.0, peak_mib=100)], Limits())
    assert (limits.wall_s, limits.cpu_s, limits.memory_mib) == (10, 50, 512)


def test_limits_that_the_verdicts_say_nothing_about_are_kept():
    assert propose([verdict(0.1)], Limits(output_kib=7, scratch_mib=9)) == Limits(
        wall_s=1, cpu_s=1, memory_mib=128, output_kib=7, scratch_mib=9
    )


@pytest.mark.parametrize(
    ("flags", "command"),
    [
        ({}, "overnight run mine.py --generations 10"),
        (
            {"model": ["openai/a=2", "openai/b"], "set": ["search.prompts=4"], "trust_settings": True},
            "overnight run mine.py --model openai/a=2 --model openai/b --set search.prompts=4 --trust-settings "
            "--generations 10",
        ),
        ({"inputs": "[[1, 2]]", "image": None}, "overnight run mine.py --inputs '[[1, 2]]' --generations 10"),
        ({"until": "7h", "budget": 2.5}, "overnight run mine.py --until 7h --budget 2.5"),
        ({"max_samples": 40, "patience": 3}, "overnight run mine.py --max-samples 40 --patience 3"),
        ({"budget": 0.0}, "overnight run mine.py --budget 0"),
        ({"budget": 1e22}, "overnight run mine.py --budget 10000000000000000000000"),
        ({"budget": 0.00001}, "overnight run mine.py --budget 0.00001"),
    ],
    ids=["nothing", "models and settings", "inputs", "an end", "another end", "no budget", "large", "small"],
)
def test_the_next_command_repeats_the_flags_of_check(flags: dict[str, Any], command: str):
    assert next_command("mine.py", flags) == command


def exceeded(outcome: Outcome, error: str = "") -> str:
    return higher_limit(Verdict(outcome, error=error), Limits(wall_s=90, cpu_s=30, memory_mib=512, output_kib=64))


def test_an_advised_limit_is_above_the_one_that_was_exceeded():
    assert "limits.wall_s=500" in exceeded(Outcome.TIMED_OUT, "took more than 90 s of wall clock")
    assert "limits.cpu_s=200" in exceeded(Outcome.TIMED_OUT, "took more than 30 s of processor time")
    assert "limits.memory_mib=2048" in exceeded(Outcome.OUT_OF_MEMORY)
    assert "limits.output_kib=256" in exceeded(Outcome.OUTPUT_LIMIT)
    assert exceeded(Outcome.CRASHED) == ""


def test_limits_replace_those_of_the_file_and_keep_the_others(capsys: pytest.CaptureFixture[str]):
    print_limits(Limits(wall_s=2, cpu_s=1, memory_mib=64), {"scratch_mib": 8, "wall_s": 5}, as_comment=True)
    printed = capsys.readouterr()
    table = "[tool.overnight.limits]"
    assert f"to replace {table} in the `# /// script` block:" in printed.err
    assert printed.out == f"# {table}\n# wall_s = 2\n# cpu_s = 1\n# memory_mib = 64\n# scratch_mib = 8\n"


@pytest.mark.parametrize(
    ("limit_s", "slowest_s", "advised"),
    [(600, 0.4, "limits.wall_s=5"), (180, 0.2, "limits.wall_s=2"), (30, 0.01, ""), (600, 20, "")],
    ids=["ten minutes", "another tool's default", "our default", "slow programs"],
)
def test_a_limit_far_above_what_the_start_program_took_is_named_with_a_shorter_one(
    limit_s: float, slowest_s: float, advised: str
):
    limits, verdicts = Limits(wall_s=limit_s), [verdict(0.1), verdict(slowest_s, 0.1)]
    message = long_limit(limits, propose(verdicts, limits), verdicts)
    assert message.endswith(advised)
    assert bool(message) is bool(advised)


VERDICTS = st.builds(
    lambda seconds, cpu, mib: verdict(*seconds, cpu_s=cpu, peak_mib=mib),
    st.lists(st.floats(0, 1e6), min_size=1, max_size=3),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
)


@given(st.lists(VERDICTS, min_size=1, max_size=3))
def test_proposed_limits_are_always_above_the_measured_use(verdicts: list[Verdict]):
    limits = propose(verdicts, Limits())
    for measured in verdicts:
        assert limits.wall_s >= 9.99 * max(measured.input_wall_s)
        assert limits.cpu_s is not None
        assert limits.cpu_s >= 9.99 * measured.cpu_s
        assert limits.memory_mib >= 4 * measured.peak_mib
