"""The composer completes the plans of any algorithm: operator, model, repair, tried ideas, and what is tuned."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from overnight.schemas.algorithm import Plan, PromptResult, Turn
from overnight.schemas.errors import OvernightError
from overnight.schemas.feedback import Feedback, PromptRecord
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.job import Call
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import NO_SCORE, TUNER, Program, program_of
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.select import create_algorithm
from overnight.tasks.select.operators.composer import Composer
from overnight.tasks.select.operators.operator_choice import lines_of_thought
from overnight.testing.made import TOY

REPEATED = "The last answers repeated earlier programs; do not repeat these:"
GREEDIEST = {"search": {"algorithm": {"name": "greedy", "epsilon": 0.0}, "operators": ["refine"]}}
MODELS = [{"name": "openai/a"}, {"name": "openai/b"}]
START = Program("start", "return 2 * n", (0.0, 0.0), 0.0)


class Search:
    """A greedy search with a composer, to be told of answers."""

    def __init__(self, settings: dict[str, Any] | None = None, start: Program = START) -> None:
        models = {"sampling": {"models": [{"name": "openai/a"}]}, "search": {"algorithm": "greedy"}}
        given = settings or {}
        layers = {name: {**models.get(name, {}), **given.get(name, {})} for name in {*models, *given}}
        self.problem = load_problem(TOY, {"tuner": {"enabled": False}, **layers})
        self.algorithm = create_algorithm(self.problem.settings.search.algorithm, start, 1)
        self.composer = Composer(self.problem, start, 1)
        self.latest: PromptRecord | None = None

    def plan(self, index: int = 0) -> Plan:
        """Return a plan that follows the latest prompt."""
        turn = Turn(1, index, 1)
        return self.composer.compose(self.algorithm.ask(turn), turn, 0, self.latest)

    def plans(self, count: int = 200) -> list[Plan]:
        return [self.plan(index) for index in range(count)]

    def tell(self, *answers: Feedback, operator: str = "refine", model: str = "openai/a", evaluations: int = 0) -> None:
        children = [program_of(one) for one in answers if one.score is not None]
        result = PromptResult("0", answers[-1].parent_id, len(answers), tuple(children))
        self.algorithm.tell(1, [result], reset=False)
        self.latest = PromptRecord("0", operator, model, answers, 100, None, evaluations)
        self.composer.tell(self.latest)

    def prompt(self, plan: Plan) -> str:
        (prompt,) = build_prompts({0: plan}, self.problem, seed=1, generation=1)
        return prompt.whole_text


def scored(name: str, *scores: float, body: str = "", idea: str = "", parent: str = "start") -> Feedback:
    score = sum(scores) / len(scores)
    return Feedback(parent, body or f"return {name}", Outcome.SCORED, "", "", scores, score, name, idea)


def repeated(idea: str = "", parent: str = "start") -> Feedback:
    return Feedback(parent, "return 0", Outcome.DUPLICATE, "judged before", "", (), None, idea=idea)


def crashed(name: str, idea: str = "", parent: str = "start", failed_id: str = "") -> Feedback:
    return Feedback(parent, "return x", Outcome.CRASHED, "NameError: no x", "hello", (), None, name, idea, failed_id)


LONG = "\n".join(f"x{number} = {number}" for number in range(6))


def test_a_plan_has_an_operator_and_its_prompt_the_words_for_it():
    search = Search()
    search.tell(scored("long", 1.0, 1.0, body=LONG))
    operators = {plan.operator for plan in search.plans(1000) if plan.base.id == "long"}
    chosen = {Operator.IMPROVE, Operator.REFINE, Operator.REWRITE, Operator.FRESH, Operator.SIMPLIFY}
    assert operators == chosen, "no partner to cross"
    plan = next(plan for plan in search.plans() if plan.operator is Operator.SIMPLIFY)
    assert "Make it simpler" in search.prompt(plan)
    search.tell(scored("line", 2.0, 2.0))
    operators = {plan.operator for plan in search.plans(1000) if plan.base.id == "line"}
    assert operators == {Operator.IMPROVE, Operator.REFINE, Operator.FRESH}, "a line has no parts"


def test_what_no_answer_wrote_is_asked_openly_to_be_improved():
    plans = Search(start=replace(START, body=LONG)).plans()
    assert {plan.operator for plan in plans} == {Operator.IMPROVE}
    without = Search({"search": {"operators": ["refine", "simplify"]}}, start=replace(START, body=LONG))
    assert {plan.operator for plan in without.plans()} == {Operator.REFINE, Operator.SIMPLIFY}


@pytest.mark.parametrize(
    "start", [replace(START, body=LONG), Program("start", "...", (), NO_SCORE)], ids=["start", "no start"]
)
@pytest.mark.parametrize("model", ["openai/a", "agent:pi/openai/a"])
def test_no_two_prompts_that_are_asked_at_a_time_are_the_same(model: str, start: Program):
    search = Search({"sampling": {"models": [{"name": model}]}}, start=start)
    beside = list[tuple[Turn, Plan]]()
    for turn in (Turn(1 + index // 3, index % 3, 1) for index in range(24)):
        beside.append((turn, search.composer.compose(search.algorithm.ask(turn), turn, 0, None, None, beside)))
    assert len({search.prompt(plan) for _, plan in beside}) == 24
    twin = next(plan for _, plan in beside if plan.angle)
    assert f"So that your answer differs, follow this line of thought: {twin.angle}." in search.prompt(twin)


@pytest.mark.parametrize("operator", [one for one in Operator if one is not Operator.TUNE])
def test_no_line_of_thought_contradicts_what_is_asked(operator: Operator):
    lines = lines_of_thought(operator)
    assert len(set(lines)) == len(lines) >= 25
    asks_for_another = any("another representation" in line for line in lines)
    assert asks_for_another is (operator in (Operator.IMPROVE, Operator.FRESH))
    assert [line for line in lines if "time" in line] == [], "the time must not decide, and may be short already"


def test_two_programs_are_crossed_and_the_prompt_says_where_each_is_better():
    search = Search()
    search.tell(scored("low", 1.0, 5.0), scored("high", 6.0, 2.0))
    plan = next(plan for plan in search.plans() if plan.operator is Operator.CROSS and plan.base.id == "high")
    assert [program.id for program in plan.shown] == ["low", "high"]
    assert "Combine the best parts" in search.prompt(plan)
    assert "The first one is better on input 2, the last one on the others." in search.prompt(plan)


def test_programs_are_crossed_that_are_each_better_on_an_input():
    search = Search()
    search.tell(scored("low", 1.0, 1.0), scored("high", 6.0, 2.0))
    assert Operator.CROSS not in {plan.operator for plan in search.plans(1000)}


def test_with_one_input_a_program_of_another_line_is_drawn_on():
    search = Search(start=Program("start", "return 0", (0.0,), 0.0))
    search.tell(scored("parent", 1.0, body=LONG))
    search.tell(scored("child", 3.0, parent="parent", body=f"{LONG}\nreturn x2"))
    assert Operator.CROSS not in {plan.operator for plan in search.plans(1000)}, "one is what the other came from"
    search.tell(scored("tuned", 2.5, parent="parent", body=LONG.replace("= 5", "= 7")))
    assert Operator.CROSS not in {plan.operator for plan in search.plans(1000)}, "nor differs from that in numbers only"
    search.tell(scored("other", 2.0, body="return n"))
    plan = next(plan for plan in search.plans(1000) if plan.operator is Operator.CROSS and plan.base.id == "child")
    assert [program.id for program in plan.shown] == ["other", "child"]
    assert "Combine the last version with what can help it from the first" in search.prompt(plan)


def test_a_weak_base_has_the_best_of_the_search_beside_it():
    search = Search({"search": {"algorithm": {"name": "greedy", "epsilon": 1.0}, "operators": ["refine"]}})
    search.tell(scored("weak", 1.0, 1.0), scored("best", 6.0, 6.0))
    plan = next(plan for plan in search.plans() if plan.base.id == "weak")
    assert [program.id for program in plan.shown] == ["best", "weak"]
    text = search.prompt(plan)
    assert "# Version 0 scores 6, the best of this search, 5 more than the last version;" in text
    assert "# Version 1 scores 1, 5 less than the best of this search, 6;" in text
    assert "the best version so far" not in text


def test_the_best_of_another_niche_is_named_and_not_shown():
    search = Search({"search": {"algorithm": {"name": "islands", "islands": 2}, "operators": ["refine"]}})
    search.tell(scored("best", 6.0, 6.0))
    plan = next(plan for plan in search.plans() if plan.niche == "1")
    assert [program.id for program in plan.shown] == ["start"]
    assert "# Version 0 scores 0, 6 less than the best of this search, 6;" in search.prompt(plan)


def test_each_answer_is_told_against_the_best_before_it():
    search = Search({"search": {"algorithm": "greedy", "operators": ["refine"]}})
    search.tell(
        scored("a", 6.0, 6.0, idea="first"), scored("b", 2.0, 2.0, idea="lower"), scored("c", 7.0, 7.0, idea="c")
    )
    _, raised = search.plan().tried.split("the latest first:\n")
    assert raised.splitlines() == ["- c (from 6 to 7)", "- first (from 0 to 6)"]


def test_an_idea_whose_program_was_not_confirmed_is_not_told_as_refuted():
    search = Search({"search": {"algorithm": "greedy", "operators": ["refine"]}})
    search.tell(
        replace(crashed("p", idea="shake"), outcome=Outcome.UNCONFIRMED, error="scored 9: run again, it crashed")
    )
    _, ideas = search.plan().tried.split("Failed in a way that says nothing of the idea itself:\n")
    assert ideas == "- shake (failed: scored 9: run again, it crashed)"


def test_a_syntax_error_is_told_with_its_reason_and_refutes_no_idea():
    search = Search({"search": {"algorithm": "greedy", "operators": ["refine"]}})
    error = "SyntaxError, line 3: '[' was never closed"
    search.tell(replace(crashed("", idea="use digits"), outcome=Outcome.UNPARSABLE, body="", error=error))
    text = search.prompt(search.plan())
    assert f"says nothing of the idea itself:\n- use digits (failed: {error})" in text
    assert "do not repeat these" not in text


def test_an_idea_that_is_better_in_another_objective_is_not_told_as_useless():
    objectives = {"metrics": {"states": "minimize"}}
    search = Search({"objectives": objectives, "search": {"algorithm": "greedy", "operators": ["refine"]}})
    search.tell(replace(scored("base", 5.0, 5.0), metrics={"states": 9.0}))
    for states in (8.0, 10.0):
        answer = scored(f"s{states}", 5.0, 5.0, idea=f"states {states}", parent="base")
        search.tell(replace(answer, metrics={"states": states}))
    tried = next(plan for plan in search.plans() if plan.base.id == "base").tried
    assert "states 10.0 (scored 5, the same as the version that it changed; states 10, before 9)" in tried
    assert "states 8.0" not in tried


STATES: dict[str, Any] = {
    "objectives": {"metrics": {"states": "minimize"}},
    "search": {"algorithm": {"name": "greedy", "epsilon": 1.0}, "operators": ["refine"]},
}


def test_what_its_base_does_not_beat_is_no_failure_and_a_failure_is_told_with_its_other_objectives():
    search, texts = Search(STATES), dict[str, str]()
    for name, score, states in (("base", 5.0, 9.0), ("few", 4.0, 7.0), ("low", 3.0, 9.0)):
        answer = scored(name, score, score, idea=f"idea of {name}", parent="start" if name == "base" else "base")
        search.tell(replace(answer, metrics={"states": states}))
        base = Program("base", "return base", (5.0, 5.0), 5.0, {"states": 9.0})
        texts[name] = search.prompt(search.composer.compose(Plan("0", (base,)), Turn(1, 0, 1), 0, None))
    assert "did not do better" not in texts["few"]
    assert "It scored 3, states 9; the last version 5, states 9." in texts["low"]
    assert "- idea of low (scored 3, the version that it changed 5; states 9 as before)" in texts["low"]


def test_the_best_of_a_search_is_a_program_that_none_beats_and_is_told_with_its_other_objectives():
    search = Search(STATES)
    for name, score, states in (("weak", 1.0, 3.0), ("best", 6.0, 9.0), ("fewer", 6.0, 8.0)):
        search.tell(replace(scored(name, score, score), metrics={"states": states}))
    texts = {plan.base.id: search.prompt(plan) for plan in search.plans()}
    assert "1, 5 less than the best of this search, 6 with states 8;" in texts["weak"]
    assert "6, the same as the best of this search, 6 with states 8;" in texts["best"]
    assert "the best of this search" not in texts["fewer"], "it is the best itself"


def test_what_is_proven_optimal_is_to_be_kept_and_another_objective_improved():
    given = {"known": {"best": 0.0, "proven": True}, "objectives": {"metrics": {"states": "minimize"}}}
    search = Search({**given, "search": {"algorithm": "greedy", "operators": ["refine"]}})
    text = search.prompt(search.plan())
    kept = "No score is better than its own, which is proven: keep it, and do better in states."
    assert f"{kept} Make one targeted change, and keep the rest as it is.\n" in text
    hinted = search.prompt(Plan("0", (START,), operator=Operator.HINT, tactic="try more states"))
    assert "keep it" not in hinted, "what a person asks for may be the contrary"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (5.5, "The best of this search scores more than the best known score already: go on beyond it. Change what"),
        (0.5, "The best of this search scores more than the best known score already: go on beyond it. Change what"),
        (6.0, ""),
    ],
)
def test_a_prompt_says_that_the_best_known_score_is_passed(known: float, said: str):
    algorithm = {"algorithm": {"name": "greedy", "epsilon": 1.0}, "operators": ["refine"]}
    search = Search({"known": {"best": known}, "search": algorithm})
    search.tell(scored("weak", 1.0, 1.0), scored("best", 6.0, 6.0))
    texts = {plan.base.id: search.prompt(plan) for plan in search.plans()}
    assert said in texts["weak"]
    assert said.replace("The best of this search", "The last version") in texts["best"]
    assert bool(said) is ("go on beyond it" in texts["best"] + texts["weak"])
    best = Plan("0", (Program("p", "return 6", (9.0, 9.0), 9.0),))
    untold = Search({"known": {"best": known}, "search": {**algorithm, "facts": False}})
    assert "go on beyond it" not in untold.prompt(best)
    search.problem = replace(search.problem, inputs={**search.problem.inputs, "validation": (Call((7.0,)),)})
    assert "go on beyond it" not in search.prompt(best), "it may be luck on the few inputs of the search"


def test_feedback_on_a_child_reaches_the_prompts_of_a_later_version():
    search = Search({"search": {"algorithm": {"name": "greedy", "epsilon": 0.0}, "operators": ["refine"]}})
    search.tell(scored("best", 6.0, 6.0))
    search.tell(crashed("late"))  # it was asked for before its base had a better child
    plan = search.plan()
    assert plan.base.id == "best"
    text = search.prompt(plan)
    assert "A try on an earlier version, which the last one comes from, did not do better than it:" in text
    assert "It crashed: NameError: no x" in text
    search.tell(crashed("own", parent="best"))
    assert "The last try on the last version did not do better:" in search.prompt(search.plan())
    search.tell(scored("next", 7.0, 7.0, parent="best"))
    for number in range(24):
        search.tell(scored(f"p{number}", 7.0 + number, 7.0, parent="next"))
    assert search.plan().feedback is None, "it is long ago"


def test_an_answer_that_failed_is_repaired_by_the_next_plan():
    search = Search({"search": {"repairs": 1.0, "algorithm": "greedy"}})
    search.tell(crashed("f1"))
    plan = search.plan()
    assert plan.operator is Operator.REPAIR
    assert plan.failed is not None
    (prompt,) = build_prompts({0: plan}, search.problem, seed=1, generation=1)
    assert prompt.parent_ids == ("f1", "start")
    assert prompt.base == "return x", "what the answer leaves out is as in the program to repair"
    for words in ("return x", "The last version crashed: NameError: no x", "hello", "Mend it", "that works"):
        assert words in prompt.text
    search.latest = None
    assert search.plan().operator is not Operator.REPAIR, "a plan that follows no prompt repairs nothing"


def test_a_repair_quotes_the_idea_that_it_keeps_and_is_listed_under_it():
    search = Search({"search": {"repairs": 1.0, "algorithm": "greedy"}})
    search.tell(crashed("f1", idea="use `guess_v0` twice."))
    for name, failed in (("f2", "f1"), ("", "f2")):
        plan = search.plan()
        assert "as little change as needed, and keep its idea: use the version twice." in search.prompt(plan)
        assert "which says in a few words what you mend." in search.prompt(plan)
        assert "the same as" not in search.prompt(plan)
        if name:
            search.tell(crashed(name, idea="import it", failed_id=failed), operator="repair")
    search.tell(replace(scored("mended", -1.0, -1.0, idea="import that"), failed_id="f2"), operator="repair")
    tried = search.composer.compose(Plan("0", (START,)), Turn(1, 0, 1), 0, None).tried
    assert "- use the version twice. (scored -1, the version that it changed 0)" in tried
    assert "import" not in tried
    assert "says nothing of the idea" not in tried


def test_a_repair_of_a_child_of_the_best_says_once_that_it_is_the_best():
    search = Search({"search": {"repairs": 1.0, "algorithm": {"name": "greedy", "epsilon": 1.0}}})
    search.tell(scored("best", 6.0, 6.0), scored("weak", 1.0, 1.0))
    search.tell(crashed("f1", parent="best"))
    assert all("# Version 0 scores 6; on" in search.prompt(plan) for plan in search.plans())


def test_without_the_operator_nothing_is_repaired():
    search = Search({"search": {"repairs": 1.0, "algorithm": "greedy", "operators": ["refine"]}})
    search.tell(crashed("f1"))
    assert {plan.operator for plan in search.plans()} == {Operator.REFINE}


def test_all_prompts_list_errors_and_what_was_tried_with_what_came_of_it():
    search = Search({"search": {"algorithm": "greedy", "operators": ["refine"]}})
    search.tell(crashed("f1", idea="use x"))
    for plan in search.plans():
        assert "- use x (failed: NameError: no x)" in search.prompt(plan)
        is_shown = plan.feedback is not None
        assert ("- NameError: no x\n" in plan.tried) is not is_shown, "an error is told once"


def test_a_repair_lists_the_errors_of_other_answers():
    search = Search({"search": {"repairs": 1.0, "algorithm": "greedy"}})
    search.tell(replace(crashed("f0"), error="KeyError: 3"), crashed("f1", idea="use x"))
    plan = search.plan()
    assert plan.operator is Operator.REPAIR
    assert plan.tried.endswith("- KeyError: 3"), "its own is told already"


def test_the_next_prompt_is_told_what_an_answer_repeated():
    search = Search({"search": {"algorithm": {"name": "greedy", "epsilon": 0.0}, "operators": ["refine"]}})
    search.tell(repeated("use x"), scored("high", 6.0, 6.0, idea="use y"), repeated("use z"))
    plans = search.plans()
    assert {plan.base.id for plan in plans} == {"high"}
    assert all(plan.tried.startswith(f"{REPEATED}\n- use x\n- use z") for plan in plans), "whatever else is listed"
    assert REPEATED in search.prompt(plans[0])
    search.latest = None
    assert REPEATED not in search.plan().tried, "a plan that follows no prompt is told nothing of repetitions"


def test_a_search_without_progress_follows_tactics():
    search = Search({"search": {"algorithm": "greedy", "operators": ["refine", "tactic"]}})
    for number in range(50):
        search.tell(scored(f"p{number}", -1.0, -1.0))
    plan = search.plan()
    assert plan.operator is Operator.TACTIC
    assert f"Take a different approach: {plan.tactic}." in search.prompt(plan)


@pytest.mark.parametrize("without", [{}, {"operators": []}, {"facts": False}], ids=["all", "operators", "facts"])
def test_models_are_chosen_by_what_they_gained_whatever_else_prompts_say(without: dict[str, Any]):
    search = Search({"sampling": {"models": MODELS}, "search": {"algorithm": "greedy", **without}})
    assert {plan.model for plan in search.plans(50)} == {"openai/a", "openai/b"}
    for number in range(30):
        search.tell(scored(f"a{number}", -1.0, -1.0), model="openai/a")
        search.tell(scored(f"b{number}", float(number), 1.0), model="openai/b")
    chosen = [plan.model for plan in search.plans()]
    assert chosen.count("openai/b") > 140


def test_without_the_bandit_no_plan_has_a_model():
    search = Search({"sampling": {"models": MODELS}, "search": {"algorithm": "greedy", "bandit": False}})
    assert {plan.model for plan in search.plans(50)} == {""}, "they are drawn by weight when the prompts are written"


def test_gains_are_in_units_of_the_run_and_none_where_nothing_is_chosen_by_them():
    search = Search()
    assert search.composer.gain_of(scored("p", 1.0, 1.0)) == 1.0
    assert search.composer.gain_of(crashed("p")) == 0.0
    assert search.composer.gain_of(replace(crashed("p"), outcome=Outcome.SANDBOX_ERROR)) is None
    off = {"algorithm": "greedy", "operators": []}
    assert Search({"search": off}).composer.gain_of(scored("p", 1.0, 1.0)) is None
    several = Search({"search": off, "sampling": {"models": MODELS}})
    assert several.composer.gain_of(scored("p", 1.0, 1.0)) == 1.0, "models are chosen by it"
    fixed = Search({"search": {**off, "bandit": False}, "sampling": {"models": MODELS}})
    assert fixed.composer.gain_of(scored("p", 1.0, 1.0)) is None


def test_the_best_program_is_tuned_once():
    search = Search({"tuner": {"enabled": True}})
    plan = search.composer.tuning(search.algorithm)
    assert plan is not None
    assert (plan.operator, plan.model, plan.base) == (Operator.TUNE, TUNER, START)
    (prompt,) = build_prompts({0: plan}, search.problem, seed=1, generation=1)
    assert (prompt.model, prompt.samples, prompt.base) == (TUNER, 1, START.body)
    search.tell(scored("t", 1.0, 1.0, body="return 3 * n"), operator="tune", model=TUNER, evaluations=30)
    assert search.composer.tuning(search.algorithm) is None, "the result differs in numbers only, and was tuned"


def test_what_the_tuner_finds_counts_for_no_model_and_no_operator():
    search, without = Search({"tuner": {"enabled": True}}), Search()
    search.tell(scored("t", 1.0, 1.0, body="return 3 * n"), operator="tune", model=TUNER, evaluations=30)
    assert search.plan().operator == without.plan().operator


@pytest.mark.parametrize(
    "search", [{"algorithm": "funsearch"}, {"algorithm": "greedy", "operators": [], "feedback": 0}]
)
def test_where_nothing_is_asked_for_a_plan_stays_as_it_is(search: dict[str, Any]):
    made = Search({"search": search})
    made.tell(crashed("f1", idea="use x"))
    turn = Turn(1, 0, 1)
    assert made.plan() == replace(made.algorithm.ask(turn), model="openai/a")


def test_models_that_continue_texts_are_asked_for_nothing():
    made = Search({"sampling": {"models": [{"name": "builtin/mutate", "style": "completion"}]}})
    made.tell(crashed("f1", idea="use x"))
    assert {plan.operator for plan in made.plans(50)} == {None}


def test_tuning_is_no_operator_of_a_model():
    with pytest.raises(OvernightError, match=r"tuner\.enabled"):
        Search({"search": {"algorithm": "greedy", "operators": ["refine", "tune"]}})


@pytest.mark.parametrize(("asked", "operator"), [({"program_id": "start"}, Operator.HINT), ({"text": "sort"}, None)])
def test_a_pin_is_asked_of_a_model_that_is_told_nothing_and_a_hint_is_not(
    asked: dict[str, Any], operator: Operator | None
):
    search, turn = Search({"sampling": {"models": [{"name": "builtin/mutate", "style": "completion"}]}}), Turn(1, 0, 1)
    given = Intervention("1", Kind.PIN if "program_id" in asked else Kind.HINT, datetime.now(UTC), "", **asked)
    plan = search.composer.compose(search.algorithm.ask(turn), turn, 0, None, given)
    assert plan.operator is operator  # by which the table `interventions` finds the answers


def test_beside_a_better_program_nobody_asks_for_one_change_or_for_less():
    search = Search({"search": {"algorithm": {"name": "greedy", "epsilon": 1.0}}})
    search.tell(scored("weak", 1.0, 1.0, body=LONG), scored("best", 6.0, 6.0), scored("second", 5.0, 5.0))
    plans = search.plans(600)
    assert {plan.operator for plan in plans if plan.base.id == "start"} == {Operator.FRESH}, "nothing to keep there"
    weak = [plan for plan in plans if plan.base.id == "weak"]
    assert {plan.operator for plan in weak} == {Operator.IMPROVE, Operator.REWRITE, Operator.CROSS, Operator.FRESH}
    cross = next(plan for plan in weak if plan.operator is Operator.CROSS)
    assert [one.id for one in cross.shown] == ["best", "weak"]
    assert "The first one is far better than the last: build on what makes it so" in search.prompt(cross)
    assert {plan.operator for plan in plans if plan.base.id == "second"} == {Operator.IMPROVE, Operator.FRESH}
    assert Operator.REFINE in {plan.operator for plan in plans if plan.base.id == "best"}


def test_a_weak_base_is_not_brought_together_with_what_came_from_it():
    search = Search({"search": {"algorithm": {"name": "greedy", "epsilon": 1.0}}})
    search.tell(scored("weak", 1.0, 1.0, body=LONG))
    search.tell(scored("best", 6.0, 6.0, parent="weak"), scored("second", 5.0, 5.0, parent="weak"))
    operators = {plan.operator for plan in search.plans(600) if plan.base.id == "weak"}
    assert operators == {Operator.IMPROVE, Operator.REWRITE, Operator.FRESH}


def test_a_try_that_is_the_same_is_the_last_try():
    search = Search(GREEDIEST)
    search.tell(scored("best", 6.0, 6.0))
    search.tell(scored("worse", 5.0, 5.0, parent="best", body="return 5"))
    search.tell(scored("same", 6.0, 6.0, parent="best", body="return 6 + n - n + n - n"))
    text = search.prompt(search.plan())
    assert "The last try on the last version did not do better:" in text
    assert "It scored 6, the same as the last version." in text
    assert "return 6 + n - n + n - n" in text
    assert "It scored 5" not in text


def test_of_programs_with_the_same_scores_the_shortest_is_built_on():
    search = Search(GREEDIEST)
    search.tell(scored("long", 6.0, 6.0, body=LONG))
    search.tell(scored("short", 6.0, 6.0, parent="long"), operator="simplify")
    assert search.plan().base.id == "short"
    assert search.algorithm.best.id == "long", "what was confirmed first stays the best"


def test_an_old_try_on_an_earlier_version_is_not_told():
    search = Search(GREEDIEST)
    search.tell(scored("first", 6.0, 6.0), scored("other", 5.0, 5.0), scored("third", 4.0, 4.0))
    search.tell(scored("worse", 5.5, 5.5, parent="first"))
    search.tell(scored("best", 7.0, 7.0, parent="first"))
    assert search.plan().feedback is None, "it was judged before the base"
    search.tell(scored("late", 5.25, 5.25, parent="first"))
    assert search.plan().feedback == scored("late", 5.25, 5.25, parent="first")
    search.tell(scored("useless", -1.0, -1.0))
    assert "useless" not in search.prompt(search.plan()), "it tried the start program, which is far behind"


def test_what_was_written_from_scratch_changed_no_version():
    search = Search(GREEDIEST)
    search.tell(scored("best", 6.0, 6.0))
    search.tell(scored("fresh", 6.0, 6.0, parent="best", idea="another way", body=LONG), operator="fresh")
    assert "- another way (from scratch: scored 6, the same as that version)" in search.prompt(search.plan())
