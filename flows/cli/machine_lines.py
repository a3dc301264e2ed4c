"""The machines of a cluster in the live view of a night: as few lines as say what matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.formatting import count, duration, printable

if TYPE_CHECKING:
    from tasks.evaluate.cluster.slots import MachineState

_IN_ONE_LINE = 4
"""Most machines whose rates are in the first line; those of more fill further lines, as many in each."""


def machine_lines(machines: Sequence[MachineState], room: int) -> list[str]:
    """Return lines about machines: all together, those that are set aside, and the rate of each if there is room.

    Args:
        machines: The machines that are there.
        room: Number of lines that fit; the first one, and one about what is set aside, are there in any case.
    """
    if not machines:
        return ["none: waiting for one to join"]
    rates = [f"{machine.name} {machine.per_minute:.0f}" for machine in machines if machine.aside_s is None]
    first = machines_in_short(machines)
    if len(machines) <= _IN_ONE_LINE:
        first = f"{first}: {', '.join(rates)}" if len(rates) > 1 else first
        rates = []
    lines = [first, *_fitting([_aside(machine) for machine in machines if machine.aside_s is not None], room - 1)]
    rows = [", ".join(rates[place : place + _IN_ONE_LINE]) for place in range(0, len(rates), _IN_ONE_LINE)]
    return lines + (_fitting(rows, room - len(lines)) if len(lines) < room else [])


def machines_in_short(machines: Sequence[MachineState]) -> str:
    """Return the number of machines, their slots and their rate, in a few words."""
    slots, rate = sum(machine.slots for machine in machines), sum(machine.per_minute for machine in machines)
    aside = sum(machine.aside_s is not None for machine in machines)
    named = f"{count(len(machines), 'machine')}, {count(slots, 'slot')}, {rate:.0f} programs/min"
    return f"{named}, {aside} set aside" if aside else named


def _aside(machine: MachineState) -> str:
    times = f" after {count(machine.faults, 'fault')}" if machine.faults > 1 else ""
    return f"{machine.name} is set aside for {duration(machine.aside_s or 0.0)}{times}: {printable(machine.reason)}"


def _fitting(lines: list[str], room: int) -> list[str]:
    """Return as many lines as fit, at least one; in place of the last one, how many are left out."""
    if room <= 1:
        return lines[:1]
    shown = lines[:room]
    if left := len(lines) - len(shown):
        shown[-1] = f"and {count(left + 1, 'more line')} like this"
    return shown
