"""Prompts are built as FunSearch builds them, with facts, scores and feedback on a failed or worse child."""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.schemas.algorithm import Plan
from overnight.schemas.feedback import Feedback, latest_feedback
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_SCORE, Completion, Program, Prompt, without_measured
from overnight.schemas.sampling_settings import Model
from overnight.schemas.search_settings import Search
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.marked_file import read_marked
from overnight.tasks.program.read_specification import read_specification
from overnight.tasks.sample.codecs import PromptContent, codec_of
from overnight.tasks.sample.prompts import build_prompts, format_notes, render_feedback, system_message

SPECIFICATION = load_problem(find("bin-packing-or")).specification
render = codec_of("functions").render


def with_settings(**settings: Any) -> Problem:
    one = {"prompts": 1, "samples": 1} | settings.pop("search", {})
    return load_problem(find("bin-packing-or"), {"search": one, **settings})


COMPLETION = Model(name="m", style="completion")
CHAT = Model(name="m", style="chat")


def test_a_completion_prompt_is_python_that_ends_in_an_empty_header():
    text = render(SPECIFICATION, PromptContent(("return bins", "x = item\nreturn priority(x, bins)")), COMPLETION)
    tree = ast.parse(text)
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert names == ["priority_v0", "priority_v1", "priority_v2"]
    assert text.rstrip().endswith('"""Improved version of `priority_v1`."""')
    assert "return priority_v1(x, bins)" in text, "a recursive parent calls itself under its version's name"


def test_only_the_first_version_has_the_specification_s_docstring():
    text = render(SPECIFICATION, PromptContent(("return bins", "return -bins")), COMPLETION)
    assert text.count("Return the priority of each bin for an item") == 1
    assert '"""Improved version of `priority_v0`."""' in text


@pytest.mark.parametrize("model", [COMPLETION, CHAT])
def test_neither_how_it_is_scored_nor_on_what_is_shown(model: Model):
    text = render(SPECIFICATION, PromptContent(("return bins",)), model)
    for hidden in ("evaluate", "held_out", "draw_items", "201", "funsearch"):
        assert hidden not in text


def test_a_chat_prompt_says_what_is_wanted_in_the_problem_s_own_words():
    text = render(SPECIFICATION, PromptContent(("return bins",)), CHAT)
    assert "use few bins" in text
    assert "complete function" in text
    assert "def priority_v1(item: float, bins: np.ndarray) -> np.ndarray:" in text


def test_a_generation_s_prompts_depend_on_seed_and_generation_alone():
    program = Program("p", "return bins", (1.0,), 1.0)
    selections = [Plan("0", (program,))] * 50
    problem = with_settings(search={"prompts": 50, "samples": 4}, sampling={"models": ["a=3", "b=1"]})

    def build(seed: int, generation: int):
        return build_prompts(dict(enumerate(selections)), problem, seed=seed, generation=generation)

    first = build(1, 1)
    assert first == build(1, 1)
    assert first != build(2, 1)
    assert first != build(1, 2)
    share = sum(prompt.model == "a" for prompt in first) / len(first)
    assert 0.5 < share < 0.95
    assert len({seed for prompt in first for seed in prompt.seeds}) == 200


def test_the_hash_of_a_prompt_knows_text_and_model():
    program = Program("p", "return bins", (1.0,), 1.0)
    one, other = (
        build_prompts({0: Plan("0", (program,))}, with_settings(sampling={"models": name}), seed=0, generation=1)[0]
        for name in ("a", "b")
    )
    assert one.hash != other.hash
    assert one.hash != replace(one, system="").hash, "and the system message"


LOW, HIGH = Program("low", "return bins", (1.0, 2.0), 1.5), Program("high", "return -bins", (2.0, 2.25), 2.125)


def chat_prompt(*shown: Program, **settings: Any) -> Prompt:
    problem = with_settings(sampling={"models": [{"name": "m"}]}, **settings)
    (prompt,) = build_prompts({0: Plan("0", shown)}, problem, seed=0, generation=1)
    return prompt


def test_a_chat_model_is_told_the_facts_in_a_message_that_is_the_same_for_all_prompts():
    prompt, other = chat_prompt(LOW, HIGH), chat_prompt(HIGH)
    assert prompt.system == other.system
    for fact in (
        "Improve `priority`",
        "Higher is better",
        "mean of the scores on",
        "best known",
        "-3.11",
        "numpy",
        " MiB",
    ):
        assert fact in prompt.system
    assert [message["role"] for message in prompt.messages] == ["system", "user"]
    assert "What is wanted" not in prompt.text


def test_each_program_is_shown_with_its_scores_and_how_far_it_is_from_the_best():
    text = chat_prompt(LOW, HIGH).text
    assert "# Version 0 scores 1.5, 0.625 less than the last version; on the inputs, in order: 1, 2.\n" in text
    assert "# Version 1 scores 2.125; on the inputs, in order: 2, 2.25.\n" in text


def test_the_start_program_says_of_the_score_what_the_file_does_not():
    problem = with_settings(inputs=[[1, [1.0] * 29], [1, [1.0] * 499]])
    start = Program("start", "return bins", (3.0, 5.0), 4.0)
    told = system_message(problem, start)
    assert "The start program scores 4, on single inputs 3 to 5; scores on an input are whole numbers there" in told
    assert "and 1 on one input is 0.5." in told
    assert "An input holds 30 to 500 values." in told
    unequal = replace(start, scores=(3.5, 5.0), score=4.25)
    assert "The start program scores 4.25, on single inputs 3.5 to 5." in system_message(problem, unequal)
    for calls, said in (((1187, 1240), "1,187 to 1,240 calls are made"), ((30, 30), "30 calls are made")):
        assert f"On an input, {said} of what you improve." in system_message(problem, replace(start, calls=calls))
    for calls in ((), (1, 1)):
        assert "calls are made" not in system_message(problem, replace(start, calls=calls))
    assert "start program" not in system_message(problem), "which is not scored yet"
    assert "start program" not in system_message(problem, replace(start, score=NO_SCORE, scores=()))


def test_scores_have_the_digits_that_tell_them_from_the_best_known_and_from_each_other():
    problem = load_problem(find("circle-packing-26"), {"sampling": {"models": ["m"]}, "known": {"best": 2.6359831}})
    low, high = (
        Program("low", "return 0", (2.6359774,), 2.6359774),
        Program("high", "return 1", (2.63597741,), 2.63597741),
    )
    (prompt,) = build_prompts({0: Plan("0", (low, high))}, problem, seed=0, generation=1)
    assert "The best known score is 2.6359831" in prompt.system
    assert "# Version 0 scores 2.6359774, 1e-08 less than the last version." in prompt.text
    assert "# Version 1 scores 2.63597741, 5.69e-06 less than the best known score." in prompt.text


def test_a_difference_of_rounding_or_noise_is_none():
    near = replace(HIGH, id="near", score=HIGH.score + 2e-13)
    assert "# Version 0 scores 2.125, the same as the last version;" in chat_prompt(near, HIGH).text
    assert "the same as the last version" in chat_prompt(LOW, HIGH, noise=1.0).text


MEASURED = replace(HIGH, cpu_s=3.4567, peak_mib=123.4)


def test_a_prompt_tells_what_the_base_took_beside_the_limits_and_is_the_same_prompt_whatever_it_took():
    prompt, other = chat_prompt(LOW, MEASURED), chat_prompt(LOW, replace(MEASURED, cpu_s=3.6))
    line = (
        "Measured: the last version took 3.5 s of processor time for all inputs together and 120 MiB of memory; "
        "allowed are 5 s for each input and 512 MiB.\n"
    )
    assert line in prompt.text
    assert prompt.text != other.text
    assert prompt.hash == other.hash == chat_prompt(LOW, HIGH).hash, "what was paid for is found after a kill"
    longest = replace(MEASURED, input_wall_s=(0.5, *[0.1] * (len(MEASURED.scores) - 2), 3.0))
    share = 3.0 / sum(longest.input_wall_s) * 3.4567
    told = f"for all inputs together, {share:.2g} s of it for input {len(longest.scores)}, the longest, and 120 MiB"
    assert told in chat_prompt(LOW, longest).text
    assert "little is left" not in chat_prompt(LOW, longest).text
    heavy = replace(MEASURED, cpu_s=4.2, input_wall_s=(0.5, *[0.1] * (len(MEASURED.scores) - 1)))
    of_loading = 4.2 - sum(heavy.input_wall_s)
    told = f"together, {of_loading:.2g} s of it for loading it, 0.5 s for input 1, the longest, and 120 MiB"
    assert told in chat_prompt(LOW, heavy).text
    assert "little is left" in chat_prompt(LOW, heavy).text, "an input that is run again loads it, too"
    at_the_limit = replace(longest, cpu_s=5.4, input_wall_s=(5.0, *[0.1] * (len(MEASURED.scores) - 1)))
    assert "little is left" in chat_prompt(LOW, at_the_limit).text
    assert without_measured(prompt.text) == chat_prompt(LOW, HIGH).text
    assert "Measured" not in chat_prompt(LOW, MEASURED, search={"facts": False}).text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"inputs": [[1, 5], [2, 7]], "show_inputs": True}, "The inputs are [1, 5], [2, 7], in this order."),
        ({"inputs": [[8, 5]], "show_inputs": True}, "The input is [8, 5]."),
        ({"inputs": [[8, 5]], "show_inputs": False}, ""),
        ({"inputs": [[1, [1.0] * 29]], "show_inputs": True}, "An input holds 30 values."),
    ],
)
def test_values_of_small_inputs_are_told_unless_the_problem_forbids_it(settings: dict[str, Any], told: str):
    said = system_message(with_settings(validation=[], held_out=[], generated={}, **settings))
    assert told in said
    assert bool(told) or "[8, 5]" not in said


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"validation": [[4711, 1]], "held_out": [[4711, 2]] * 3}, "chosen on 1 other input. What is reported is the"),
        ({"validation": [[4711, 1]] * 2, "held_out": []}, "In the end the best is chosen on 2 other inputs. What fits"),
        ({"validation": [], "held_out": [[4711, 1]]}, "What is reported is the score on 1 other input. What fits"),
    ],
)
def test_where_other_inputs_decide_that_is_told_and_the_value_of_none(others: dict[str, Any], said: str):
    message = system_message(with_settings(inputs=[[8, 5]], show_inputs=True, generated={}, **others))
    assert said in message
    assert "[8, 5]" not in message
    assert "4711" not in message


@pytest.mark.parametrize(
    ("train", "held_out", "said"),
    [
        ([[90, 1], [90, 2]], [[90, 3]], "An input is a call `evaluate(90, …)`, of which only … differs."),
        ([[90, 1], [90, 2]], [[91, 3]], ""),
        ([["near", 1]], [["near", 2]], "`evaluate('near', …)`"),
        (
            [{"kwargs": {"count": 90, "seed": 1}}],
            [{"kwargs": {"count": 90, "seed": 2}}],
            "`evaluate(count=90, seed=…)`",
        ),
        ([[90, 1]], [{"kwargs": {"count": 90, "seed": 2}}], ""),
        ([[90, [1]]], [[90, [1]]], "`evaluate(90, …)`"),
        ([["x" * 100, 1]], [["x" * 100, 2]], ""),
        ([[90, 1]], [[90, 1]], ""),
    ],
)
def test_what_all_inputs_have_in_common_is_told(train: list[Any], held_out: list[Any], said: str):
    told = system_message(with_settings(inputs=train, validation=[], held_out=held_out, generated={}))
    assert said in told
    assert bool(said) or "An input is a call" not in told


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            "none",
            "Single calls are then repeated, in new processes and in another order; each may take as long as all",
        ),
        ("calls", "An evolved function may keep what it likes from one call to the next on the same input."),
    ],
)
def test_a_prompt_says_what_a_confirmation_demands(state: str, said: str):
    assert said in system_message(with_settings(state=state))
    assert said not in system_message(with_settings(state=state, sandbox={"confirm": "never"}))


def test_limits_are_said_to_be_of_processor_time_of_which_loading_is_a_part():
    for confirm, again in (("best", ", on every input when it is run once more"), ("never", "")):
        said = system_message(with_settings(sandbox={"confirm": confirm})).replace("\n  ", " ")
        assert "Limits for each input: 5 s of processor time and 512 MiB of memory. " in said
        assert f"The time includes loading the program and work at a first call{again}; seconds in which" in said


def test_where_there_is_no_program_yet_a_whole_function_is_asked_for():
    text = chat_prompt(Program("start", "...", (), NO_SCORE)).text
    assert "No version has a score yet. Here is what is to be written" in text
    assert "Write `priority_v1`: the first version of `priority_v0`." in text
    assert "scores" not in text


def test_a_score_near_the_best_known_one_is_compared_with_it():
    problem = load_problem(find("kakeya-set"), {"sampling": {"models": ["m"]}, "known": {"best": -618.0}})
    for score, said in (
        (-618.0, ", the same as the best known score;"),
        (-619.0, ", 1 less than the best known score;"),
    ):
        program = Program("one", "return 0", (-53.0, -128.0, score + 181), score)
        (prompt,) = build_prompts({0: Plan("0", (program,))}, problem, seed=0, generation=1)
        assert said in prompt.text
    program = Program("far", "return 0", (-125.0, -343.0, -1331.0), -1799.0)
    (prompt,) = build_prompts({0: Plan("0", (program,))}, problem, seed=0, generation=1)
    assert "less than the best known score" not in prompt.text


def test_of_a_try_what_the_last_version_has_is_left_out():
    base = "def _cost(rest):\n    return -rest\n\n\ndef priority(item, bins):\n    a = _cost(bins)\n    return a"
    tried = base.replace("    a = _cost(bins)\n    return a", "    return 2 * _cost(item * bins)\n")
    plan = Plan("0", (replace(HIGH, body=base),), replace(LOWER, parent_id=HIGH.id, body=tried))
    text = render_feedback(plan, SPECIFICATION, 3000)
    assert "return 2 * _cost(item * bins)" in text
    assert "def _cost" not in text


def test_helpers_that_both_versions_have_are_shown_once_and_imports_and_variables_with_each():
    helper = "def _cost(rest):\n    return -rest"
    function = "def priority(item, bins):\n    return _cost(bins) * SAME"
    body = f"import math\n\nSAME = 1\nLIMIT = 3\n\n\n{helper}\n\n\n{function}"
    other = body.replace("LIMIT = 3", "LIMIT = 4")
    text = chat_prompt(replace(LOW, body=other), replace(HIGH, body=body)).text
    assert (text.count("def _cost(rest)"), text.count("import math"), text.count("SAME = 1")) == (1, 2, 2)
    assert (
        text.index("import math")
        < text.index("LIMIT = 4")
        < text.index("def priority_v0")
        < text.index("def _cost(rest)")
    )
    assert "shares with the last one, word for word, are shown once, beside the last one" in text
    assert "Another version has its own `LIMIT`, too: the last version's stays" in text


def test_of_one_line_nothing_else_is_kept():
    problem = with_settings(sampling={"models": ["m"]})
    for body, is_one in (("return bins", True), ("x = bins\nreturn x", False)):
        plan = Plan("0", (replace(LOW, body=body),), operator=Operator.REFINE)
        (prompt,) = build_prompts({0: plan}, problem, seed=0, generation=1)
        assert ("Change what is there, or put something else in its place" in prompt.text) is is_one
        assert ("keep the rest as it is" in prompt.text) is not is_one


def test_the_start_program_s_scores_are_whole_by_chance_where_all_are_the_same_or_the_best_known_is_no_mean_of_such():
    for scores, best, is_whole in (((1.0, 3.0), 3.5, True), ((1.0, 3.0), 3.42121, False), ((0.0, 0.0), 3.5, False)):
        start = Program("start", "return bins", scores, sum(scores) / 2)
        told = system_message(with_settings(known={"best": best}), start)
        assert ("whole numbers there" in told) is is_whole


def test_a_prompt_that_combines_says_where_each_is_better_and_where_they_are_level():
    base = replace(HIGH, scores=(1.0, 2.0, 3.0))
    for scores, said in (
        ((2.0, 1.0, 1.0), "The first one is better on input 1, the last one on the others."),
        ((2.0, 1.0, 3.0), "The first one is better on input 1, the last one on input 2; on the others they are level."),
        (
            (2.0, 3.0, 3.0),
            "The first one is better on inputs 1, 2, the last one on none; on the others they are level.",
        ),
    ):
        plan = Plan("0", (replace(LOW, scores=scores), base), operator=Operator.CROSS)
        (prompt,) = build_prompts({0: plan}, with_settings(sampling={"models": ["m"]}), seed=0, generation=1)
        assert said in prompt.text


def test_a_difference_has_the_digits_before_its_point():
    shown = replace(LOW, scores=(-1799.0,), score=-1799.0), replace(HIGH, scores=(-618.0,), score=-618.0)
    assert "# Version 0 scores -1799, 1181 less than the last version." in chat_prompt(*shown).text
    shown = replace(shown[0], score=-1799.5678), shown[1]
    assert "1182 less than the last version." in chat_prompt(*shown).text


def test_of_many_inputs_the_first_are_told_and_the_lowest():
    scores = (*(float(place) for place in range(50, 65)), 3.0, 7.5)
    shown = replace(HIGH, scores=scores, score=sum(scores) / len(scores))
    told = "in order: 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, …, and the lowest of all 17: "
    assert f"{told}3 on input 16, 7.5 on input 17, 50 on input 1" in chat_prompt(shown, shown).text


def test_a_prompt_says_which_helpers_are_there():
    helped = replace(
        HIGH, body="def _cost(rest):\n    return -rest\n\n\ndef priority(item, bins):\n    return _cost(bins)"
    )
    stays = "`priority_v1` stays, may be called, and need not be written again, except to change it; what you use of"
    assert stays in chat_prompt(LOW, helped).text
    assert "has its own" not in chat_prompt(helped, HIGH).text
    twice = chat_prompt(helped, replace(helped, id="twice", body=helped.body.replace("-rest", "rest"))).text
    said = "Another version has its own `_cost`, too: the last version's stays"
    assert said in " ".join(twice.split())
    assert "has its own" not in chat_prompt(helped, replace(helped, id="same")).text
    assert "stays, may be called, and need not be written again, except to change it.\n" in chat_prompt(helped).text
    assert "What stands beside" not in chat_prompt(LOW, HIGH).text


def asked(operator: Operator, *shown: Program) -> str:
    problem = with_settings(sampling={"models": [{"name": "m"}]})
    (prompt,) = build_prompts({0: Plan("0", shown, operator=operator)}, problem, seed=0, generation=1)
    return prompt.text


def test_what_a_request_is_after_contradicts_nothing_else_that_it_says():
    helped = replace(HIGH, body="def _c(rest):\n    return -rest\n\n\ndef priority(item, bins):\n    return _c(bins)")
    assert "What stands beside" in asked(Operator.REFINE, helped)
    assert "What stands beside" not in asked(Operator.FRESH, helped), "nothing of it is to be built on"
    assert "a new version that does better than `priority_v0`. " in asked(Operator.REFINE, HIGH)
    assert "a new version of `priority_v0` that is simpler, and scores no less. " in asked(Operator.SIMPLIFY, HIGH)


@pytest.mark.parametrize(
    ("scores", "doubt"),
    [
        ((3.0, 2.0, 3.0, 2.0), True),
        ((3.0, 3.1, 3.2, 3.1), False),
        ((2.0, 1.0, 3.1), False),
        ((2.0, 2.0, 2.0, 2.0), False),
    ],
)
def test_a_difference_that_may_be_chance_is_said_to_be(scores: tuple[float, ...], doubt: bool):
    base = Program("base", "return -bins", (2.0,) * len(scores), 2.0)
    other = Program("other", "return bins", scores, sum(scores) / len(scores))
    said = "than the last version, and on other inputs it may be the other way round;"
    assert (said in chat_prompt(other, base).text) is doubt
    assert said not in chat_prompt(other, base, validation=[], held_out=[], generated={}).text, "no others decide"
    assert said not in chat_prompt(other, base, reducer="min").text


def test_equal_scores_are_called_the_same():
    twin = replace(HIGH, id="twin")
    assert "# Version 0 scores 2.125, the same as the last version;" in chat_prompt(twin, HIGH).text


@pytest.mark.parametrize("search", [{"facts": False}, {"algorithm": "funsearch"}])
def test_without_facts_there_is_no_system_message_and_no_score(search: dict[str, Any]):
    prompt = chat_prompt(LOW, HIGH, search=search)
    assert prompt.system == ""
    assert "scores 1.5" not in prompt.text
    assert "use few bins" in prompt.text
    assert prompt.messages == [{"role": "user", "content": prompt.text}]


def test_a_model_that_continues_text_is_told_no_facts():
    problem = with_settings(sampling={"models": [{"name": "m", "style": "completion"}]})
    (prompt,) = build_prompts({0: Plan("0", (LOW, HIGH))}, problem, seed=0, generation=1)
    assert prompt.system == ""
    ast.parse(prompt.text)


@pytest.mark.parametrize("line", ["# idea: sort first", "**Idea:** sort first", "// IDEA: sort first  "])
def test_the_idea_of_an_answer_is_the_line_that_names_it(line: str):
    assert answer(f"Sure.\n{line}\n```python\nx = 1\n```").idea == "sort first"
    assert answer("no idea at all: none").idea is None
    assert answer(f"# idea: {'x' * 1000}").idea == f"{'x' * 299} …"
    assert answer(f"# idea: {'word ' * 100}").idea == f"{'word ' * 60}…", "it ends after a word"


def answer(text: str) -> Completion:
    return Completion(0, 0, "", text, "m", 1, 1, None, 0.0, "stop", datetime(2026, 1, 1, tzinfo=UTC))


def test_a_specification_with_two_spaces_gives_prompts_that_parse(tmp_path: Path):
    path = tmp_path / "two.py"
    path.write_text(
        '"""Q."""\n@funsearch.run\ndef e(n: int) -> int:\n  return p(n)\n\n'
        '@funsearch.evolve\ndef p(n: int) -> float:\n  r"""A \\d doc.\n\n  More.\n  """\n  return 0.0\n'
    )
    specification = load_problem(path, {"inputs": [1]}).specification
    ast.parse(render(specification, PromptContent((specification.start_body,)), COMPLETION))


@pytest.mark.parametrize(("operator", "is_offered"), [(Operator.REFINE, True), (Operator.FRESH, False)])
def test_edits_of_a_long_program_are_not_offered_where_it_is_not_to_be_built_on(operator: Operator, is_offered: bool):
    long = Program("p", "\n".join(f"x{k} = {k}" for k in range(70)) + "\nreturn x1", (1.0,), 1.0)
    problem = with_settings(sampling={"models": "openai/a"})
    (prompt,) = build_prompts({0: Plan("0", (long,), operator=operator)}, problem, seed=0, generation=1)
    assert ("<<<<<<< SEARCH" in prompt.text) is is_offered


PARENT = Program("p", "return bins", (1.0, 2.0), 1.5)
CRASHED = Feedback("p", "return 1 / 0", Outcome.CRASHED, "ZeroDivisionError: division by zero", "hello", (), None)
LOWER = Feedback("p", "return -bins", Outcome.SCORED, "", "", (0.0, 1.0), 0.5)


def rendered(feedback: Feedback | None, chars: int = 2000) -> str:
    return render_feedback(Plan("0", (PARENT,), feedback), SPECIFICATION, chars)


def test_feedback_on_a_failed_child_has_code_error_and_output():
    text = rendered(CRASHED)
    for part in ("```python\n", "return 1 / 0", "It crashed: ZeroDivisionError: division by zero", "hello"):
        assert part in text


def test_feedback_on_a_lower_score_lists_the_scores_of_child_and_parent_by_input():
    assert "It scored 0.5, the last version 1.5. On the inputs, in order: 0, 1; the last version: 1, 2." in rendered(
        LOWER
    )


def test_a_small_change_of_much_code_is_told_as_a_diff_and_cut_last():
    lines = [f"x{number} = {number}" for number in range(99)]
    parent = replace(PARENT, body="\n".join(lines))
    failed = replace(CRASHED, body="\n".join([*lines[:98], "x98 = 1 / 0"]), output="o" * 5000)
    text = render_feedback(Plan("0", (parent,), failed), SPECIFICATION, 1000)
    assert "```diff\n" in text
    assert "-    x98 = 98" in text
    assert "+    x98 = 1 / 0" in text
    assert "x50" not in text


def test_the_text_is_empty_without_feedback_or_room():
    assert rendered(None) == ""
    assert rendered(CRASHED, 0) == ""


@given(
    body=st.text(max_size=3000), error=st.text(max_size=3000), output=st.text(max_size=3000), chars=st.integers(8, 900)
)
def test_the_length_is_limited_and_content_cannot_end_a_fence(body: str, error: str, output: str, chars: int):
    file = read_marked("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n", "x.py")
    feedback = replace(CRASHED, body=body, error=error, output=output)
    text = render_feedback(Plan("0", (PARENT,), feedback), file, chars)
    assert len(text) <= chars + 150
    assert text.count("```") in (2, 4)


NOTED = replace(PARENT, metrics={"seconds": 0.25}, notes=("first ```", "second"))


def noted_prompt(program: Program = NOTED, style: str = "chat", **search: Any) -> str:
    problem = with_settings(search=search, sampling={"models": [{"name": "m", "style": style}]})
    return build_prompts({0: Plan("0", (program,), LOWER)}, problem, seed=1, generation=1)[0].text


def test_a_prompt_tells_metrics_and_notes_of_its_base_the_worst_input_first():
    base = replace(NOTED, scores=(2.0, 1.0))
    text = noted_prompt(base)
    assert "on the inputs, in order: 2, 1; seconds 0.25" in text
    said = "on input 2 (scores 1): second\non input 1 (scores 2): first '''"
    assert f"The scoring says of the last version:\n\n```text\n{said}\n```" in text


def test_of_a_command_s_metrics_those_are_told_that_count(tmp_path: Path):
    (tmp_path / "guess.py").write_text("# EVOLVE-BLOCK-START\nx = 1\n# EVOLVE-BLOCK-END\n")
    for counted in ({}, {"ratio": "maximize"}):
        given = {"command": {"evaluate": ["python3", "{program}"]}, "inputs": [1], "objectives": {"metrics": counted}}
        problem = load_problem(tmp_path, {**given, "sampling": {"models": ["m"]}})
        base = replace(NOTED, body="x = 1\n", metrics={"seconds": 0.25, "ratio": 2.0})
        (prompt,) = build_prompts({0: Plan("0", (base,))}, problem, seed=1, generation=1)
        assert ("ratio 2" in prompt.text, "seconds 0.25" in prompt.text) == (bool(counted), False)


@pytest.mark.parametrize("plain", [{"style": "completion"}, {"notes": 0}, {"algorithm": "funsearch"}])
def test_neither_is_told_where_notes_are_off(plain: dict[str, Any]):
    assert noted_prompt(**plain) == noted_prompt(PARENT, **plain)


def test_a_prompt_says_what_counts_beside_the_score_and_what_beats_its_base():
    metrics: dict[str, Any] = {"seconds": "minimize", "ratio": "maximize"}
    problem = with_settings(objectives={"metrics": metrics, "limits": {"mib": "<= 64"}}, sampling={"models": ["m"]})
    rival = Program("r", "return 0", (1.0, 1.0), 1.0, metrics={"seconds": 0.125, "ratio": 1.0})
    plan = Plan("0", (NOTED,), rivals=(rival,))
    (prompt,) = build_prompts({0: plan}, problem, seed=1, generation=1)
    kept = "programs are kept that no other one equals or beats in all of these"
    assert f"less `seconds` and more `ratio` count, too: {kept}; `mib` has to be <= 64." in prompt.system
    assert "\n- score 1, seconds 0.125, ratio 1; the last version: score 1.5, seconds 0.25\n" in prompt.text


@given(st.lists(st.text(max_size=400), max_size=5), st.lists(st.floats(-1, 1), max_size=5), st.integers(0, 900))
def test_notes_keep_to_their_room_and_cannot_end_a_fence(notes: list[str], scores: list[float], chars: int):
    text = format_notes(notes, scores, chars)
    assert len(text) <= chars + len("```text\n\n```")
    assert text.count("```") in (0, 2)


def test_a_note_that_does_not_fit_has_its_beginning_and_its_end():
    text = format_notes(["a" * 500 + "z" * 500, "left out"], [1.0, 2.0], 200)
    assert text.startswith("```text\non input 1 (scores 1): aaa")
    assert text.endswith("zzz\n```")
    assert "…" in text
    assert "left out" not in text


@pytest.mark.parametrize(("style", "has_feedback"), [("chat", True), ("completion", False)])
def test_only_prompts_of_chat_models_have_feedback(style: str, has_feedback: bool):
    settings = {"sampling": {"models": [{"name": "m", "style": style}]}, "search": {"feedback": 500}}
    problem = load_problem(find("bin-packing-or"), settings)
    (prompt,) = build_prompts({0: Plan("0", (PARENT,), CRASHED)}, problem, seed=1, generation=1)
    assert ("ZeroDivisionError" in prompt.text) is has_feedback


def test_feedback_is_on_by_default_and_off_with_the_algorithm_of_the_paper():
    assert Search().feedback_chars > 1000
    assert Search.model_validate({"algorithm": "funsearch", "feedback": 500}).feedback_chars == 0
    assert Search(feedback=500).feedback_chars == 500


@pytest.mark.parametrize(
    ("feedback", "is_kept"),
    [
        (CRASHED, True),
        (LOWER, True),
        (replace(LOWER, score=1.5), True),
        (replace(LOWER, score=1.75), False),
        (replace(CRASHED, outcome=Outcome.SANDBOX_ERROR), False),
        (replace(CRASHED, outcome=Outcome.DUPLICATE), False),
        (replace(CRASHED, body="", outcome=Outcome.UNPARSABLE), False),
    ],
)
def test_feedback_is_kept_for_children_that_failed_or_did_not_score_higher(feedback: Feedback, is_kept: bool):
    assert (latest_feedback([feedback], {"p": 1.5}.get) == {"p": feedback}) is is_kept


def test_the_last_feedback_is_kept():
    assert latest_feedback([CRASHED, LOWER], {"p": 1.5}.get) == {"p": LOWER}


def test_a_system_message_tells_the_task_once_and_the_prompt_no_import_of_the_scoring_alone():
    text = (
        '"""What is wanted."""\nimport funsearch\nimport math\nfrom score import one\nfrom shared import used\n'
        "@funsearch.run\ndef evaluate(n): return one(f(n))\n@funsearch.evolve\ndef f(n):\n    return used(n)\n"
    )
    specification = read_specification(text, "f")
    assert specification.preface.startswith('"""What is wanted."""')
    assert specification.preface_of_facts == "import math\nfrom shared import used"


SCORED = """\
import funsearch

LIMIT = 3


class Board:
    \"\"\"What is built.\"\"\"


def helper(n):
    return Board(), LIMIT, deeper(n)


# A comment.
@funsearch.run
def evaluate(n):
    return helper(f(n))


def deeper(n):
    return f(n)


@funsearch.draw
def drawn(n):
    return "<svg/>"


@funsearch.evolve
def f(n):
    return n


def baseline():
    return 7
"""


def test_the_scoring_is_what_the_run_function_needs_without_marks_and_without_what_is_evolved():
    assert read_specification(SCORED, "f").scoring == (
        'class Board:\n    """What is built."""\n\n\ndef helper(n):\n    return Board(), LIMIT, deeper(n)\n\n\n'
        "def evaluate(n):\n    return helper(f(n))\n\n\ndef deeper(n):\n    return f(n)"
    )


def test_a_system_message_shows_the_scoring_where_it_is_short_and_the_problem_allows_it():
    problem = with_settings()
    code = f"This code scores a program, and stays as it is:\n\n```python\n{problem.specification.scoring}\n```"
    assert problem.specification.scoring
    assert code in system_message(problem)
    assert "This code" not in system_message(with_settings(show_scoring=False))
    lines = "\n".join(f"    n += {number}" for number in range(600))
    text = SCORED.replace("    return helper(f(n))", f"{lines}\n    return helper(f(n))")
    assert "This code" not in system_message(replace(problem, specification=read_specification(text, "f")))


def test_constants_of_a_prompt_come_with_what_explains_them():
    text = (
        "# /// script\n# dependencies = []\n# ///\nFIRST = 1\nimport math\n\n"
        "# How far a number may go.\n# It is a limit.\n"
        'FARTHEST = 9.5  # metres\nCOUNT: int = 3\n"""Attempts of each call."""\n'
        "@funsearch.run\ndef evaluate(n): return f(n)\n@funsearch.evolve\ndef f(n):\n    return n\n"
    )
    assert read_specification(text, "f").preface_of_facts == (
        "FIRST = 1\nimport math\n# How far a number may go.\n# It is a limit.\n"
        "FARTHEST = 9.5  # metres\nCOUNT: int = 3\n"
        '"""Attempts of each call."""'
    )


AGENT = "agent:mini-swe-agent/openai/a"
FORMS = ("one targeted change", "code block", "# idea:", "_v1", "Answer with", "does better than", "complete function")
"""Words of prompts that ask for one answer, and for its form."""


def task_of(plan: Plan, **settings: Any) -> Prompt:
    problem = with_settings(sampling={"models": [AGENT]}, **settings)
    start = Program("s", problem.specification.start_body, (-6.0, -5.0), -5.5)
    (prompt,) = build_prompts({0: plan}, problem, seed=1, generation=1, start=start)
    return prompt


@pytest.mark.parametrize("operator", [one for one in Operator if one is not Operator.TUNE])
def test_an_agent_is_told_the_task_and_no_form_of_an_answer(operator: Operator):
    base = Program("b", "return -bins", (-4.0, -3.0), -3.5)
    failed = CRASHED if operator is Operator.REPAIR else None
    tactic = "sort first" if operator in (Operator.TACTIC, Operator.HINT) else ""
    other = Program("a", "return bins", (-4.5, -2.5), -3.6)
    plan = Plan("0", (other, base), operator=operator, failed=failed, tactic=tactic, tried="Tried before:\n- by size")
    prompt = task_of(plan)
    assert [words for words in FORMS if words in prompt.text] == []
    wanted = ("use few bins", "The start program scores -5.5", "Tried before:\n- by size", "best known score")
    assert [words for words in wanted if words not in prompt.text] == []
    assert (prompt.system, prompt.samples) == ("", 13)
    assert ("sort first" in prompt.text) is bool(tactic)
    assert ("begin with failed" in prompt.text) is bool(failed)
    assert failed or "you begin with scores -3.5; on the inputs, in order: -4, -3" in prompt.text


def test_an_agent_is_told_that_programs_are_chosen_on_other_inputs():
    problem = with_settings(sampling={"models": [AGENT]})
    (prompt,) = build_prompts(
        {0: Plan("0", (Program("b", "return -bins", (-4.0,), -4.0),))}, problem, seed=1, generation=1
    )
    counts = [len(problem.inputs[split]) for split in ("train", "validation", "held_out")]
    assert all(str(count) in prompt.text for count in counts if count)
    assert "In the end the best is chosen on" in prompt.text


@pytest.mark.parametrize("measures", ["Measured: it took 1 s.\n\nAnd more.", "Measured: it took 1 s."])
def test_what_was_measured_is_no_part_of_what_tells_prompts_apart(measures: str):
    others = measures.replace("1 s", "2 s")
    assert without_measured(f"Improve this.\n\n{measures}") == without_measured(f"Improve this.\n\n{others}")
    assert "Measured" not in without_measured(measures)
