from __future__ import annotations

from overnight.schemas.outcome import Outcome


def test_outcomes_have_names_and_colours_of_their_own():
    assert [Outcome(kind.value) for kind in Outcome] == list(Outcome)
    for colours in ({kind.facts.on_light for kind in Outcome}, {kind.facts.on_dark for kind in Outcome}):
        assert len(colours) == len(Outcome)


def test_every_row_reads_as_part_of_a_sentence():
    for kind in Outcome:
        assert kind.facts.meaning[0].islower(), kind
        assert kind.facts.explanation[0].isupper(), kind
        assert not {kind.facts.meaning[-1], kind.facts.explanation[-1]} & set(".:"), kind


def test_a_program_that_is_repaired_is_one_that_prompts_show_and_that_is_known():
    for kind in Outcome:
        if kind.facts.is_repairable:
            assert kind.facts.is_informative, kind
            assert kind.facts.counts_as_known, kind
    assert Outcome.TIMED_OUT.facts.is_repairable
    assert not Outcome.SANDBOX_ERROR.facts.counts_as_known
