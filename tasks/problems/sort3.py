"""Sort three registers with as few machine instructions as you can.

Three numbers are in the registers 0, 1 and 2, a fourth one is free. There are four instructions: mov a b copies b into
a, cmp a b compares them, cmovl a b and cmovg a b copy b into a if the last comparison found less, or greater. Programs
are built one instruction at a time and run on all orders of three numbers at once: the 32 programs that `priority` puts
highest are kept, and each goes on with every instruction, until one sorts all orders. Improve `priority`.
"""
# /// script
# dependencies = ["numpy"]
#
# [tool.overnight]
# title = "Sort 3 as machine instructions"
# origin = "AlphaDev, Nature 2023"
# inputs = [[3, 32]]
# score_name = "minus the instructions of a program that sorts three registers"
#
# [tool.overnight.limits]
# wall_s = 10
# memory_mib = 512
#
# [tool.overnight.known]
# start = -13.1667
# best = -11
# label = "no program of 10 sorts"
# source = "Mankowitz et al., Nature 618 (2023); Ullrich, Hack: Synthesis of Sorting Kernels, CGO 2025"
# date = "2025-03-03"
# proven = true
# honesty = -11
# honesty_label = "breadth-first search over what programs do, which also shows that no 10 sort; the network has 12"
# baseline = "breadth_first"
# ///

import itertools
from collections.abc import Sequence

import funsearch
import numpy as np

Instruction = tuple[str, int, int]


@funsearch.run
def evaluate(n: int, width: int) -> float:
    """Return minus the length of the first program that sorts; if none, one more than the network and the unsorted."""
    longest = 2 * n * (n - 1)
    program, lack = build(n, width, longest)
    if lack:
        return -(longest + lack)
    check(program, n)
    return -len(program)


def instructions(n: int) -> list[Instruction]:
    """Return all instructions on n registers and a free one; comparisons one way round."""
    pairs = list(itertools.permutations(range(n + 1), 2))
    return [(kind, a, b) for kind in ("mov", "cmp", "cmovl", "cmovg") for a, b in pairs if kind != "cmp" or a < b]


def step(states: np.ndarray, instruction: Instruction) -> np.ndarray:
    """Return the registers and the sign of the last comparison after an instruction, shape (..., registers + 1)."""
    kind, a, b = instruction
    after = states.copy()
    if kind == "cmp":
        after[..., -1] = np.sign(states[..., a] - states[..., b])
        return after
    does = {"mov": True, "cmovl": states[..., -1] < 0, "cmovg": states[..., -1] > 0}[kind]
    after[..., a] = np.where(does, states[..., b], states[..., a])
    return after


def build(n: int, width: int, longest: int) -> tuple[list[Instruction], float]:
    """Return the first program that sorts and 0; or none, and 1 plus the unsorted share of orders of the nearest."""
    orders = np.array(list(itertools.permutations(range(n))), dtype=np.int8)
    states = np.pad(orders, ((0, 0), (0, 2)), constant_values=n)[None]
    states[..., -1] = 0
    programs, choices = [()], instructions(n)
    nearest = 0.0
    marks = np.random.default_rng(0).integers(2**62, size=states.size)
    for length in range(1, longest + 1):
        after = np.concatenate([step(states, choice) for choice in choices])
        whole = np.nonzero(have_all_numbers(after, n))[0]
        _, first = np.unique(after[whole].reshape(len(whole), -1) @ marks, return_index=True)
        kept = whole[np.sort(first)]
        after = after[kept]
        is_sorted = np.logical_and.reduce([after[:, :, k] == k for k in range(n)]).mean(axis=1)
        for k in kept[is_sorted == 1]:
            program = (*programs[k % len(states)], choices[k // len(states)])
            if unsorted(program, n) is None:
                return list(program), 0.0
        nearest = max(nearest, float(is_sorted[is_sorted < 1].max(initial=0.0)))
        best = np.argsort(-ranked(after, is_sorted, length, n), kind="stable")[:width]
        programs = [(*programs[k % len(states)], choices[k // len(states)]) for k in kept[best]]
        states = after[best]
    return [], 2 - nearest


def have_all_numbers(states: np.ndarray, n: int) -> np.ndarray:
    """Return whether each of the numbers is still in some register, whatever the order was, shape (programs,)."""
    bits = np.left_shift(1, states[:, :, :-1], dtype=np.int8)
    present = np.bitwise_or.reduce([bits[:, :, k] for k in range(n + 1)])
    return np.all((present + 1) % 2**n == 0, axis=1)


def ranked(states: np.ndarray, is_sorted: np.ndarray, length: int, n: int) -> np.ndarray:
    """Return the priorities of programs by their states, shape (programs, orders, registers + 1)."""
    numbers = np.sort(states[:, :, :n] @ (n + 2) ** np.arange(n), axis=1)
    different = 1 + np.count_nonzero(np.diff(numbers, axis=1), axis=1)
    low, high = np.array(list(itertools.combinations(range(n), 2))).T
    inversions = (states[:, :, low] > states[:, :, high]).sum(axis=2).mean(axis=1)
    decided = (states[:, :, -1] != 0).mean(axis=1)
    arguments = different.astype(float), inversions, is_sorted, decided
    priorities = np.asarray(priority(*arguments, length), dtype=float)
    if priorities.shape != different.shape:
        raise ValueError(f"priority must return one number for each of {len(different)} programs")
    return priorities


def breadth_first(n: int, width: int) -> int:
    """Return minus the length of the shortest program of all.

    A program is what it makes of all orders, equal numbers included, so that there are few. It is dropped where two
    orders need more instructions, even by themselves, than may follow.
    """
    starts, after, apart = machines(n)
    limit = int(apart[np.ix_(starts, starts)].max())
    while not can_sort(starts, after, apart, limit):
        limit += 1
    return -limit


def machines(n: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Return what registers and sign can hold from an order on, as numbers.

    Returns:
        The orders to begin with; what comes after each instruction, shape (instructions, states + 1), where the last
        one has lost a number; instructions that sort each two by one program, shape (states + 1, states + 1).
    """
    orders = [order for order in itertools.product(range(n), repeat=n) if set(order) == set(range(max(order) + 1))]
    numbers = {(tuple(sorted(order)), (*order, n), 0): place for place, order in enumerate(orders)}
    after: list[list[int]] = []
    for wanted, registers, sign in (states := list(numbers)):
        after.append([])
        for kind, a, b in instructions(n):
            new, found = list(registers), sign
            if kind == "cmp":
                found = (registers[a] > registers[b]) - (registers[a] < registers[b])
            elif kind == "mov" or sign == {"cmovl": -1, "cmovg": 1}[kind]:
                new[a] = registers[b]
            state = (wanted, tuple(new), found)
            if set(wanted) <= set(new) and numbers.setdefault(state, len(numbers)) == len(states):
                states.append(state)
            after[-1].append(numbers.get(state, -1))
    table = np.array([*after, [-1] * len(after[0])], dtype=np.int16).T % (len(states) + 1)
    is_sorted = np.array([*(state[1][:n] == state[0] for state in states), False])
    apart, before = np.where(is_sorted[:, None] & is_sorted, 0, 99).astype(np.int8), None
    while before is None or np.any(apart != before):
        before = apart
        for row in table:
            apart = np.minimum(apart, 1 + before[row][:, row])
    return list(range(len(orders))), table, apart


def can_sort(starts: list[int], after: np.ndarray, apart: np.ndarray, limit: int) -> bool:
    """Return whether a program with so many instructions sorts."""
    level = np.array([starts])
    for left in range(limit - 1, -1, -1):
        successors = []
        for row in after:
            next_level = row[level]
            for i, j in itertools.combinations(range(len(starts)), 2):
                next_level = next_level[apart[next_level[:, i], next_level[:, j]] <= left]
            successors.append(next_level)
        level = np.unique(np.sort(np.concatenate(successors), axis=1), axis=0)
    return len(level) > 0


def check(program: list[Instruction], n: int) -> None:
    """Run the program on every order, equal numbers included."""
    allowed = set(instructions(n))
    if not all(instruction in allowed for instruction in program):
        raise ValueError("not all are instructions")
    if (order := unsorted(program, n)) is not None:
        raise ValueError(f"the program does not sort {order}")


def unsorted(program: Sequence[Instruction], n: int) -> list[int] | None:
    """Return an order that a program does not sort, if there is one; the free register holds what is least, or most."""
    for order, free in itertools.product(itertools.product(range(n), repeat=n), (-1, n)):
        registers, sign = [*order, free], 0
        for kind, a, b in program:
            if kind == "cmp":
                sign = (registers[a] > registers[b]) - (registers[a] < registers[b])
            elif kind == "mov" or sign == {"cmovl": -1, "cmovg": 1}[kind]:
                registers[a] = registers[b]
        if registers[:n] != sorted(order):
            return list(order)
    return None


@funsearch.draw
def picture(n: int, width: int) -> str:
    """Draw the program as a listing, beside it what the registers hold if they begin the wrong way round."""
    program, lack = build(n, width, 2 * n * (n - 1))
    registers, sign = [*range(n, 0, -1), 0], 0
    said = [f"A program of {len(program)} instructions that sorts {n} registers"]
    if lack:
        said = [f"No program of {2 * n * (n - 1)} instructions found that sorts {n} registers;"]
        said.append(f"the nearest leaves {lack - 1:.0%} of the orders unsorted")
    drawing = funsearch.svg.Picture(360, 18 * len(program) + 60, " ".join(said))
    for number, line in enumerate(said):
        drawing.text(10, 20 + 16 * number, line, size=11)
    if lack:
        return str(drawing)
    drawing.text(250, 40, " ".join(map(str, registers[:n])), font_family="monospace", fill=funsearch.svg.SOFT)
    for number, (kind, a, b) in enumerate(program, start=1):
        if kind == "cmp":
            sign = (registers[a] > registers[b]) - (registers[a] < registers[b])
        moves = kind != "cmp" and (kind == "mov" or sign == {"cmovl": -1, "cmovg": 1}[kind])
        if moves:
            registers[a] = registers[b]
        y, colour = 40 + 18 * number, funsearch.svg.BLUE if moves else funsearch.svg.SOFT
        drawing.text(34, y, number, anchor="end", fill=funsearch.svg.SOFT, font_family="monospace")
        drawing.text(48, y, kind, font_family="monospace")
        drawing.text(100, y, f"r{a} r{b}", font_family="monospace")
        does = f"r{a} {'<=>'[sign + 1]} r{b}" if kind == "cmp" else "moves" if moves else "stays"
        drawing.text(170, y, does, fill=colour, font_family="monospace")
        drawing.text(250, y, " ".join(map(str, registers[:n])), fill=colour, font_family="monospace")
    return str(drawing)


@funsearch.evolve
def priority(
    different: np.ndarray, inversions: np.ndarray, is_sorted: np.ndarray, decided: np.ndarray, length: int
) -> np.ndarray:
    """Return the priority with which each program is kept.

    Args:
        different: Of each program, how many different states of the registers it has led to, shape (programs,).
        inversions: Pairs of numbers that stand the wrong way round, mean over the orders, shape (programs,).
        is_sorted: Share of the orders that are sorted, shape (programs,).
        decided: Share of the orders for which the last comparison found less or greater, shape (programs,).
        length: Instructions that each of them has.

    Returns:
        One number for each program, shape (programs,); the highest are kept.
    """
    return is_sorted - inversions
