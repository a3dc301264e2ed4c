"""A prompt lists errors to avoid, and tried ideas: those on its base that did not help, and the best of the run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.select.operators.ledger import Ledger, TriedIdea


def ledger(*tried: TriedIdea, chars: int = 2000) -> Ledger:
    made = Ledger(chars)
    for one in tried:
        made.add(one)
    return made


def test_ideas_that_did_not_help_here_are_listed_whole_latest_first_and_once_with_what_came_of_them():
    long = "a " * 120 + "word"
    made = ledger(
        TriedIdea("sort first", "base", score=0.5, base_score=2.0),
        TriedIdea("shown itself", "origin", "base", score=1.0, base_score=2.0),
        TriedIdea("use a heap", "base", error="Traceback\nKeyError: 3"),
        TriedIdea("sort  first", "base", score=2.0 + 2e-13, base_score=2.0),
        TriedIdea("elsewhere", "other", score=1.0, base_score=2.0),
        TriedIdea(long, "origin", score=1.75, base_score=2.0),
        TriedIdea("again", "base", is_repeated=True),
        TriedIdea("sort first", "base", is_repeated=True),
        TriedIdea("helped", "base", score=3.0, base_score=2.0, is_better=True),
    )
    first, second = [
        part for part in made.text("base", "origin", shown={"base"}).split("\n\n") if part.startswith("Tried already")
    ]
    assert first.splitlines() == [
        "Tried already on the last version; do not repeat these:",
        "- sort first (scored 2, the same as the version that it changed)",
        "- again (was judged before)",
        "- use a heap (failed: KeyError: 3)",
    ]
    assert second.splitlines() == [
        "Tried already on the version that the last one came from; do not repeat these:",
        f"- {long} (scored 1.75, the version that it changed 2)",
    ]


def test_what_crashed_is_listed_apart_since_its_idea_was_not_tried():
    made = ledger(
        TriedIdea("square root", "base", error="NameError: no math", is_untried=True),
        TriedIdea("slow", "base", error="took 20 s"),
    )
    assert made.text("base", told="NameError: no math").split("\n\n") == [
        "Errors with which earlier answers crashed or were refused; avoid them:\n- took 20 s",
        "Tried already on the last version; do not repeat these:\n- slow (failed: took 20 s)",
        "Failed in a way that says nothing of the idea itself:\n- square root (failed: NameError: no math)",
    ]


def test_an_idea_that_helped_once_it_was_mended_is_no_failure():
    made = ledger(
        TriedIdea("logarithm", "base", "p", error="NameError: no math", is_untried=True),
        TriedIdea("logarithm", "base", "q", score=3.0, base_score=2.0, is_better=True),
    )
    assert "logarithm" not in made.text("base")


def raising(idea: str, before: float, score: float) -> TriedIdea:
    return TriedIdea(idea, "other", score=score, best_before=before, is_better=True)


def test_ideas_that_raised_the_best_score_are_the_latest_and_the_largest_with_both_scores():
    steps = [(0.0, 8.0), (8.0, 12.0), (12.0, 14.0), (14.0, 14.5), (14.5, 14.75), (14.75, 14.875), (14.875, 14.9375)]
    made = ledger(
        *(raising(f"idea {number}", *step) for number, step in enumerate(steps)),
        TriedIdea("better than a weak one", "weak", score=9.0, base_score=1.0, best_before=14.9375, is_better=True),
    )
    assert made.text("base").splitlines() == [
        "Ideas that raised the best score of this search, the latest first:",
        "- idea 6 (from 14.875 to 14.9375)",
        "- idea 5 (from 14.75 to 14.875)",
        "- idea 4 (from 14.5 to 14.75)",
        "- idea 2 (from 12 to 14)",
        "- idea 1 (from 8 to 12)",
        "- idea 0 (from 0 to 8)",
    ]


def test_a_rise_within_noise_or_rounding_is_none_and_a_small_one_has_the_digits_that_show_it():
    rises = [raising("rounding", 2.6359774, 2.6359774 + 2e-13), raising("small", 2.6359774, 2.6359831)]
    assert ledger(*rises).text("base").splitlines()[1:] == ["- small (from 2.635977 to 2.635983)"]
    noisy = Ledger(2000, noise=0.1)
    noisy.add(raising("noise", 1.0, 1.05))
    assert noisy.text("base") == ""


def test_no_version_is_named_which_the_prompt_does_not_show():
    made = ledger(TriedIdea("as `priority_v1`, but sort_v0 first", "base", score=0.0))
    assert "as the version, but the version first" in made.text("base")


def test_different_errors_are_listed_by_their_last_line():
    made = ledger(
        TriedIdea("", "x", error="Traceback\n  line 3\nValueError: bad\n"),
        TriedIdea("", "x", error="KeyError: 3"),
        TriedIdea("", "x", error="ValueError: bad"),
    )
    assert made.text("base").splitlines() == [
        "Errors with which earlier answers crashed or were refused; avoid them:",
        "- ValueError: bad",
        "- KeyError: 3",
    ]


def test_errors_can_be_listed_alone():
    made = ledger(TriedIdea("sort first", "base", error="KeyError: 3"))
    assert made.text("base", lists_ideas=False).splitlines()[1:] == ["- KeyError: 3"]
    assert len(made.text("base").splitlines()) > 2


def test_what_was_repeated_is_listed_first_and_once_with_or_without_other_ideas():
    made = ledger(TriedIdea("sort first", "base"), TriedIdea("use a heap", "base", error="KeyError: 3"))
    for lists_ideas in (True, False):
        text = made.text("base", lists_ideas=lists_ideas, repeated=["sort first", "sort  first"])
        assert text.startswith(
            "The last answers repeated earlier programs; do not repeat these:\n- sort first\n\nErrors"
        )
        assert text.count("- sort first") == 1
        assert ("- use a heap" in text) is lists_ideas


def test_an_idea_that_was_tried_often_is_named():
    made = ledger(*[TriedIdea("sort first", f"base {k}") for k in range(3)], TriedIdea("once", "z"))
    assert made.text("base").splitlines() == ["Tried already many times in this search:", "- sort first"]


def test_without_anything_to_tell_there_is_no_text():
    assert ledger().text("base") == ""
    assert ledger(TriedIdea("", "base")).text("base") == ""
    assert ledger(TriedIdea("x", "base"), chars=0).text("base") == ""


def test_many_tries_are_listed_where_all_but_the_latest_are_short():
    made = ledger(
        *[TriedIdea(f"idea {k} " + "word " * 60, "base", score=1.0, base_score=2.0) for k in range(20)], chars=3000
    )
    first, *items = made.text("base").splitlines()
    assert first == "Tried already on the last version; do not repeat these:"
    assert [item.startswith(f"- idea {19 - k} ") for k, item in enumerate(items)] == [True] * len(items)
    assert len(items) >= 12
    assert all("word (scored" in item for item in items[:4]), "whole"
    assert all(len(item) < 200 and "word … (scored 1, the version that it changed 2)" in item for item in items[4:])


def test_what_raised_the_best_has_room_beside_many_tries():
    tried = [TriedIdea(f"idea {k} " + "word " * 60, "base", score=1.0, base_score=2.0) for k in range(20)]
    assert ledger(raising("heat bath", 1.0, 2.0), *tried).text("base").endswith("- heat bath (from 1 to 2)")


def test_what_did_not_help_elsewhere_is_told_where_there_is_room():
    made = ledger(
        TriedIdea("here", "base", score=1.0, base_score=2.0),
        TriedIdea("slow annealing " * 20, "other", score=1.0, base_score=2.0),
        TriedIdea("shown", "other", "shown", score=1.0, base_score=2.0),
        TriedIdea("gained", "other", score=2.0, base_score=1.0, is_better=True),
    )
    *_, heading, item = made.text("base", shown={"shown"}).splitlines()
    assert heading == "Tried on other programs of this search, without a gain:"
    assert item.startswith("- slow annealing slow")
    assert item.endswith(" … (scored 1, the version that it changed 2)")


def test_many_different_tries_that_end_at_the_best_score_are_counted():
    tries = [TriedIdea(f"idea {k % 6}", "base", score=-618.0, best_before=-618.0) for k in range(9)]
    said = "different tries ended at exactly -618, the best score of this search"
    assert ledger(raising("first", -1799.0, -618.0), *tries[:4]).text("base").count(said) == 0
    made = ledger(raising("first", -1799.0, -618.0), *tries)
    assert made.text("base").startswith(f"7 {said}: what passes it has to change something that all of them share.\n")
    made.add(raising("better", -618.0, -617.0))
    assert said not in made.text("base")


TEXTS = st.text(max_size=300)


@given(
    st.lists(st.builds(TriedIdea, TEXTS, st.sampled_from("ab"), st.just(""), TEXTS), max_size=12),
    st.integers(0, 900),
)
def test_the_text_keeps_to_its_limit(tried: list[TriedIdea], chars: int):
    assert len(ledger(*tried, chars=chars).text("a", "b")) <= chars
