"""A simulated model answers from the text of a request alone, as its persona would, and every valid answer parses."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from overnight.tasks.sample.codecs import codec_of
from tests.bench.simulated.cues import Cue
from tests.bench.simulated.designs import block_of, read_design
from tests.bench.simulated.landscape import Design
from tests.bench.simulated.model import Reply, SimulatedModel
from tests.bench.simulated.personas import RANGES, Persona, persona_of
from tests.bench.simulated.problems import SimulatedProblem, names_of, problem_named
from tests.bench.simulated.reading import read_request
from tests.bench.simulated.server import respond

PERSONA = replace(persona_of(1), valid=1.0, copies=0.0, collapses=0.0, bad_edits=0.0, reasoning_tokens=0)
PROBLEM = problem_named("F1-k1")


def fenced(text: str) -> str:
    return f"```python\n{text.rstrip()}\n```"


def asking(
    problem: SimulatedProblem = PROBLEM, base: Design | None = None, *, before: str = "", after: str = ""
) -> str:
    """Return a prompt that asks for the block of a better program."""
    source = problem.source(base or problem.start)
    return f"{before}\nThe best version so far:\n\n{fenced(source)}\n\n{after}\nOnly the marked block."


def answers(persona: Persona, prompt: str, count: int, **more: Any) -> list[Reply]:
    model = SimulatedModel(persona)
    request = {"messages": [{"role": "user", "content": prompt}], **more}
    return [model.answer(request, number) for number in range(count)]


def body_of(reply: Reply, problem: SimulatedProblem = PROBLEM, base: Design | None = None) -> str:
    """Return the body that Overnight parses from an answer; empty if there is none."""
    base_body = "" if base is None else block_of(problem.source(base))
    return codec_of("file").parse(reply.text, problem.file, 1, base_body).body


def score_of(reply: Reply, problem: SimulatedProblem = PROBLEM) -> float | None:
    if not (body := body_of(reply, problem)):
        return None
    try:
        return problem.evaluate(problem.file.with_body(body))
    except (NameError, SyntaxError, ValueError):
        return None


def design_of(reply: Reply, problem: SimulatedProblem = PROBLEM) -> Design:
    design = read_design(body_of(reply, problem), problem.landscape)
    assert design is not None
    return design


def random_design(problem: SimulatedProblem, seed: int) -> Design:
    rng = Random(seed)
    return Design(tuple(rng.randrange(len(names)) for names in problem.landscape.options), problem.start.numbers)


def test_personas_are_drawn_from_the_ranges_and_differ():
    personas = [persona_of(seed) for seed in range(40)]
    assert personas[3] == persona_of(3)
    for name, (low, high) in RANGES.items():
        values = [getattr(persona, name) for persona in personas]
        assert low <= min(values) < max(values) <= high
    assert any(persona.reasoning_tokens for persona in personas)


def test_answers_follow_from_persona_seed_request_and_number():
    once, again = answers(PERSONA, asking(), 8), answers(PERSONA, asking(), 8)
    assert once == again
    assert len({reply.text for reply in once}) > 1
    assert answers(replace(PERSONA, seed=2), asking(), 8) != once
    assert answers(PERSONA, asking(after="Think."), 8) != once


@pytest.mark.parametrize("name", names_of())
@pytest.mark.parametrize("form", ["Only the marked block.", "", "You MUST use the exact SEARCH/REPLACE diff format."])
def test_every_valid_answer_parses_and_runs(name: str, form: str):
    problem = problem_named(name)
    prompt = asking(problem).replace("Only the marked block.", form)
    for reply in answers(PERSONA, prompt, 6):
        body = body_of(reply, problem, problem.start)
        design = read_design(body, problem.landscape)
        assert reply.is_valid
        assert design is not None
        assert design != problem.start
        if not problem.landscape.forbidden(design):
            assert problem.evaluate(problem.file.with_body(body)) == problem.landscape.score(design)


@pytest.mark.parametrize("valid", [0.4, 0.8])
def test_the_share_of_answers_that_run_is_the_persona_s(valid: float):
    persona = replace(PERSONA, valid=valid)
    replies = answers(persona, asking(), 150)
    runs = [score_of(reply) is not None for reply in replies]
    assert runs == [reply.is_valid for reply in replies]
    assert sum(runs) / len(runs) == pytest.approx(valid, abs=0.09)
    helped = answers(persona, asking(after="The last try crashed: NameError: prepared"), 150)
    assert sum(reply.is_valid for reply in helped) / 150 == pytest.approx(valid + 0.3 * (1 - valid), abs=0.09)
    fresh = answers(persona, asking(after="Write it from scratch."), 150)
    assert sum(reply.is_valid for reply in fresh) / 150 == pytest.approx(0.6 * valid, abs=0.09)


def test_improvements_come_as_often_as_the_law_says_and_seldom_near_the_optimum():
    persona = replace(PERSONA, slope=0.3, power=1.0, floor=0.0, jumps=0.0)
    far = [score_of(reply) for reply in answers(persona, asking(), 150)]
    assert sum(score is not None and score > PROBLEM.start_score for score in far) / 150 == pytest.approx(0.3, abs=0.09)
    near = [score_of(reply) for reply in answers(persona, asking(base=PROBLEM.best), 50)]
    assert all(score is not None and score < PROBLEM.optimum for score in near)


def test_edits_of_some_personas_do_not_apply():
    prompt = asking(after="Answer with edits only.")
    replies = answers(replace(PERSONA, bad_edits=0.25), prompt, 150)
    assert all("<<<<<<< SEARCH" in reply.text for reply in replies)
    failed = [not body_of(reply, base=PROBLEM.start) for reply in replies]
    assert failed == [not reply.is_valid for reply in replies]
    assert sum(failed) / 150 == pytest.approx(0.25, abs=0.09)


def shown_beside(words: str, other: Design) -> str:
    prompt = asking().replace("so far:", "so far, which scores 0.5:")
    return f"{words}:\n\n{fenced(block_of(PROBLEM.source(other)))}\n\n{prompt}"


def copied(prompt: str, other: Design, persona: Persona) -> int:
    """Return how many fragments of another program are in the answers to a prompt."""
    designs = [design_of(reply) for reply in answers(persona, prompt, 60)]
    return sum(
        mine == theirs != start
        for design in designs
        for mine, theirs, start in zip(design.choices, other.choices, PROBLEM.start.choices, strict=True)
    )


def test_programs_beside_are_copied_more_where_their_score_is_told_and_higher_or_they_are_to_be_combined():
    other, persona = random_design(PROBLEM, 5), replace(PERSONA, copies=0.15, jumps=0.0)
    silent, equal, higher = (
        copied(shown_beside(words, other), other, persona)
        for words in ("Another", "Another, which scores 0.5", "Another, which scores 0.6")
    )
    crossed = copied(shown_beside("Combine it with this", other), other, persona)
    assert higher > 1.5 * max(silent, equal)
    assert crossed > 1.5 * max(silent, equal)
    assert max(silent, equal) < 1.4 * min(silent, equal)
    assert copied(shown_beside("Another", other), other, PERSONA) < 0.3 * silent


def test_a_failed_program_is_neither_the_base_nor_beside_and_its_error_is_heeded():
    problem = problem_named("F4-k1")
    first, one, second, other = problem.landscape.pairs[0]
    base = list(problem.best.choices)
    base[first] = one
    design = Design(tuple(base))
    wrong = Design((*base[:second], other, *base[second + 1 :]))
    failed = f"The last try did not do better:\n\n{fenced(problem.source(wrong))}\n\nIt was crashed: ValueError: "
    prompt = asking(problem, design, after=failed + problem.landscape.forbidden(wrong))
    reading = read_request(prompt)
    assert reading.base is not None
    assert (reading.base.design, reading.beside) == (design, ())
    names = problem.landscape.options
    assert reading.conflicts == {(first, names[first][one], second, names[second][other])}
    persona = replace(PERSONA, jumps=0.0)
    designs = [design_of(reply, problem).choices for reply in answers(persona, prompt, 100)]
    assert not any((choices[first], choices[second]) == (one, other) for choices in designs)


def test_collapsed_answers_repeat_few_edits_and_fewer_at_a_higher_temperature():
    persona = replace(PERSONA, collapses=0.5)
    different = [
        len({design_of(reply) for reply in answers(persona, asking(), 60, temperature=temperature)})
        for temperature in (0.1, 0.7, 1.9)
    ]
    assert different == sorted(different)
    assert different[0] < 0.7 * different[2]


def test_ideas_that_were_tried_are_avoided():
    prompt, persona = asking(after="One line on what you change."), replace(PERSONA, collapses=0.9, avoids=1.0)
    ideas = [reply.text.split("\n")[0].removeprefix("# idea: ") for reply in answers(persona, prompt, 60)]
    common = max(set(ideas), key=ideas.count)
    told = prompt + f"\nTried already:\n- {common}\n"
    later = [reply.text.split("\n")[0].removeprefix("# idea: ") for reply in answers(persona, told, 60)]
    assert later.count(common) < 0.4 * ideas.count(common)


def test_another_algorithm_comes_when_it_is_asked_for():
    problem, persona = problem_named("F3-a"), replace(PERSONA, jumps=0.05)
    shares = [
        sum(design_of(reply, problem).choices[0] != 0 for reply in answers(persona, asking(problem, after=after), 150))
        for after in ("", "Try a fundamentally different approach.")
    ]
    assert shares[1] > 1.3 * shares[0]


def test_an_answer_after_long_reasoning_is_cut():
    persona = replace(PERSONA, reasoning_tokens=8000)
    replies = answers(persona, asking(), 100, max_tokens=8000)
    cut = [reply for reply in replies if reply.finish_reason == "length"]
    assert 25 < len(cut) < 80
    assert all(reply.tokens <= 8000 for reply in replies)
    assert all(not reply.is_valid for reply in cut)
    assert all(reply.finish_reason == "stop" for reply in answers(PERSONA, asking(), 20, max_tokens=8000))


def test_a_prompt_in_openevolve_s_form_is_understood():
    top, current = random_design(PROBLEM, 1), random_design(PROBLEM, 2)
    prompt = (
        "# Current Program Information\n- Fitness: 0.3120\n\n# Program Evolution History\n## Top Performing Programs\n"
        f"\n### Program 1 (Score: 0.4010)\n{fenced(PROBLEM.source(top))}\nKey features: none\n\n# Current Program\n"
        f"{fenced(PROBLEM.source(current))}\n\n# Task\nRewrite the program to improve its FITNESS SCORE.\n"
    )
    reading = read_request(prompt)
    assert reading.base is not None
    assert (reading.base.design, [other.design for other in reading.beside]) == (current, [top])
    assert [other.score for other in reading.beside] == [0.401]
    assert reading.cues == {Cue.CURRENT, Cue.IMPROVE}
    assert reading.base.score == 0.312


def test_every_cue_has_three_wordings_that_it_finds_as_whole_words():
    assert all(len(cue.value) >= 3 and all(cue.is_in(f"Now, {wording}. ") for wording in cue.value) for cue in Cue)
    assert not Cue.CROSS.is_in("combined_score: 3")


def test_a_request_without_a_simulated_problem_is_refused():
    answer = respond(SimulatedModel(PERSONA), 0, {"model": "m", "messages": [{"role": "user", "content": "Hello"}]})
    assert (answer.status, answer.body["error"]["message"]) == (400, "the request names no simulated problem")


def test_the_server_answers_chat_text_and_embeddings():
    model, prompt = SimulatedModel(PERSONA), asking()
    chat = respond(model, 0, {"model": "m", "n": 2, "messages": [{"role": "user", "content": prompt}]}).body
    assert [choice["finish_reason"] for choice in chat["choices"]] == ["stop", "stop"]
    assert chat["usage"]["completion_tokens"] > 100
    assert "stage_01" in respond(model, 0, {"model": "m", "prompt": prompt}).body["choices"][0]["text"]
    same, other = (one["embedding"] for one in respond(model, 0, {"input": ["abcd", "xyz"]}).body["data"])
    assert sum(a * a for a in same) == pytest.approx(1.0)
    assert same != other


def test_programs_beside_that_are_like_the_base_do_not_undo_what_an_answer_changes():
    same = f"Another:\n\n{fenced(PROBLEM.source(PROBLEM.start))}\n\n" * 4
    persona = replace(PERSONA, copies=0.3)
    assert PROBLEM.start not in [design_of(reply) for reply in answers(persona, same + asking(), 40)]
