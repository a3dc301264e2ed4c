"""Machines in the live view: one line for a few of them, more only where there is room."""

from __future__ import annotations

from overnight.flows.cli.live_view import machine_lines, machines_in_short
from overnight.tasks.evaluate.cluster.slots import MachineState

ROOM = 20


def working(number: int) -> MachineState:
    return MachineState(f"m{number}", 4, programs=100, per_minute=number * 10.0)


def aside(name: str, reason: str = "no Docker engine answers", faults: int = 1) -> MachineState:
    return MachineState(name, 2, faults=faults, aside_s=250.0, reason=reason)


def test_a_few_machines_are_one_line_with_the_rate_of_each():
    assert machine_lines([working(1)], ROOM) == ["1 machine, 4 slots, 10 programs/min"]
    assert machine_lines([working(1), working(2)], ROOM) == ["2 machines, 8 slots, 30 programs/min: m1 10, m2 20"]


def test_without_any_machine_the_night_waits():
    assert machine_lines([], ROOM) == ["none: waiting for one to join"]


def test_the_rates_of_more_machines_fill_further_lines_if_there_is_room():
    machines = [working(number) for number in range(1, 11)]
    first = "10 machines, 40 slots, 550 programs/min"
    assert machine_lines(machines, ROOM) == [
        first,
        "m1 10, m2 20, m3 30, m4 40",
        "m5 50, m6 60, m7 70, m8 80",
        "m9 90, m10 100",
    ]
    assert machine_lines(machines, 3) == [first, "m1 10, m2 20, m3 30, m4 40", "and 2 more lines like this"]
    assert machine_lines(machines, 1) == [first]


def test_machines_that_are_set_aside_are_named_with_the_reason_even_without_room():
    said = machine_lines([working(1), aside("bad", faults=3)], 0)
    assert said == [
        "2 machines, 6 slots, 10 programs/min, 1 set aside",
        "bad is set aside for 4 min 10 s after 3 faults: no Docker engine answers",
    ]


def test_of_many_that_are_set_aside_as_many_are_named_as_there_is_room_for():
    said = machine_lines([aside(f"bad{number}") for number in range(9)], 4)
    assert said[0].endswith("9 set aside")
    assert [line.split()[0] for line in said[1:3]] == ["bad0", "bad1"]
    assert said[3:] == ["and 7 more lines like this"]
    assert len(machine_lines([aside(f"bad{number}") for number in range(9)], 1)) == 2


def test_a_generation_s_line_has_the_machines_in_short():
    assert machines_in_short([working(1), aside("bad")]) == "2 machines, 6 slots, 10 programs/min, 1 set aside"
