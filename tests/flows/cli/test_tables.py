"""Tables on narrow terminals: ids are never broken, and left out columns are named."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from overnight.flows.cli import printing
from overnight.flows.formatting import scores_beside

IDS = ("20261126-0030-autocorrelation-inequality-9366", "20261126-0029-bin-packing-weibull-b693")
COLUMNS = ("run", "started (UTC)", "samples", "start", "best", "by")
ROWS = [
    (IDS[0], "2026-11-26 00:30", "96", "-2", "-1.99323", "somebody who has a long name indeed"),
    (IDS[1], "2026-11-26 00:29", "480", "-3.95129", "-3.95129", "nobody"),
]


def draw(monkeypatch: pytest.MonkeyPatch, width: int, *, spare: tuple[str, ...] = ()) -> list[str]:
    """Return the lines of the table on a terminal of some width."""
    console = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(printing, "out", lambda: console)
    console.print(printing.table(COLUMNS, ROWS, right=("samples", "start", "best"), spare=spare))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


@pytest.mark.parametrize("spare", [(), ("by", "start")])
@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
def test_ids_and_numbers_are_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, width: int, spare: tuple[str, ...]):
    words = " ".join(draw(monkeypatch, width, spare=spare)).split()
    assert {*IDS, "-1.99323"} <= set(words)


def test_on_a_wide_terminal_nothing_is_broken_or_left_out(monkeypatch: pytest.MonkeyPatch):
    lines = draw(monkeypatch, 140)
    assert any(IDS[0] in line and ROWS[0][-1] in line for line in lines)
    assert "left out" not in " ".join(lines)


def test_a_long_text_is_wrapped_rather_than_the_labels_beside_it(monkeypatch: pytest.MonkeyPatch):
    console = Console(file=io.StringIO(), width=60)
    monkeypatch.setattr(printing, "out", lambda: console)
    source = "somebody, in a paper with a long title, and in another one (2023, table 1)"
    console.print(printing.table(("", "train", "source"), [("start program", "-18.4984", source)]))
    assert isinstance(console.file, io.StringIO)
    assert "start program" in console.file.getvalue()


def test_a_title_takes_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch):
    console = Console(file=io.StringIO(), width=60)
    monkeypatch.setattr(printing, "out", lambda: console)
    for words in (8, 30):
        console.print(printing.table(("model",), [("a",)], title=" ".join(["title"] * words)))
    assert isinstance(console.file, io.StringIO)
    titles = [line.split() for line in console.file.getvalue().splitlines() if "title" in line]
    assert len(titles[0]) == 8
    assert sum(map(len, titles[1:])) == 30, "a longer one is wrapped"
    assert max(map(len, titles)) <= 10


def test_spare_columns_are_left_out_first_and_named(monkeypatch: pytest.MonkeyPatch):
    lines = draw(monkeypatch, 84, spare=("by", "start"))
    assert any(IDS[1] in line and "480" in line for line in lines)
    assert "nobody" not in " ".join(lines)
    assert "columns left out on this narrow terminal: by, start" in " ".join(lines)


def test_on_a_very_narrow_terminal_each_column_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    lines = draw(monkeypatch, 60)
    for row in ROWS:
        for name, value in zip(COLUMNS, row, strict=True):
            assert any(line.split()[:1] == name.split()[:1] and value.split()[0] in line for line in lines), name


@pytest.mark.parametrize(
    ("first", "second", "texts"),
    [
        (2.6359830849, 2.6359773, ("2.635983", "2.635977")),
        (0.0365298899, 0.03652988988, ("0.0365299", "0.0365299")),
        (512.0, 512.0, ("512", "512")),
        (-86.0, None, ("-86", "–")),
    ],
)
def test_two_scores_have_as_many_digits_as_tell_them_apart(first: float, second: float | None, texts: tuple[str, str]):
    assert scores_beside(first, second) == texts
