"""The simulation of a cluster against what was measured on one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.bench.simulate_cluster import NIGHT, Constants, as_measured, night

README = Path(__file__).parents[1] / "bench/README.md"
ROW = re.compile(r"^\| (\d+) x (\d+) \| ([\d.]+) s \| [\d.]+ \| ([\d.]+) \|", re.MULTILINE)
"""A row of the table of `bench_cluster`: machines, slots, seconds, and efficiency."""

MEASURED = [(int(row[0]), int(row[1]), float(row[2]), float(row[3])) for row in ROW.findall(README.read_text())]


def test_there_are_measured_rows():
    assert len(MEASURED) >= 5


@pytest.mark.parametrize(("machines", "slots", "seconds", "measured"), MEASURED)
def test_it_reproduces_what_was_measured(machines: int, slots: int, seconds: float, measured: float):
    """Eight machines that share two processors lose more than it knows of."""
    rel = 0.02 if machines <= 4 else 0.1
    assert as_measured(machines, slots, seconds).efficiency == pytest.approx(measured, rel=rel)


def test_a_large_cluster_is_limited_by_the_head_where_candidates_are_short():
    found = night(50, 0.2)
    assert found.bottleneck == "head"
    assert found.rate == pytest.approx(1 / NIGHT.on_head_s, rel=0.05)


def test_candidates_that_take_long_fill_it():
    found = night(20, 10.0)
    assert found.bottleneck == "none"
    assert found.efficiency > 0.97
    assert Constants().search_s == 0.0, "what is compared with bench_cluster has no search"
