"""Settings are merged from the block, overnight.toml and flags; inputs become calls; errors are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.job import Call
from overnight.schemas.settings import parse_settings
from overnight.tasks.problems import find
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program.config_layers import merge, set_by_path
from overnight.tasks.program.make_problem import restore_problem
from overnight.testing.population import islands_in

BODY = """
@funsearch.run
def evaluate({parameters}):
    return 1

@funsearch.evolve
def priority(n):
    return 0
"""


def write(folder: Path, block: str = "", parameters: str = "n") -> Path:
    lines = ["# /// script", *(f"# {line}".rstrip() for line in block.splitlines()), "# ///"] if block else []
    path = folder / "mine.py"
    path.write_text("\n".join(lines) + BODY.format(parameters=parameters))
    return path


@pytest.mark.parametrize(
    ("file", "flag", "name", "islands"),
    [
        ({"algorithm": "funsearch"}, {"algorithm": {"islands": 3}}, "funsearch", 3),
        ({"algorithm": {"islands": 3}}, {"algorithm": "funsearch"}, "funsearch", 3),
        ({"algorithm": {"islands": 4}}, {"algorithm": {"islands": 3}}, "islands", 3),
    ],
)
def test_layers_may_name_the_algorithm_and_its_settings_in_any_form(
    file: dict[str, Any], flag: dict[str, Any], name: str, islands: int
):
    search = parse_settings(merge([{"search": file}, {"search": flag}]), "it").search
    assert (search.algorithm.name, islands_in(search)) == (name, islands)


@pytest.mark.parametrize(
    ("file", "flag", "expected"),
    [
        ({"algorithm": {"islands": 3, "parents": 4}}, {"algorithm": "tree"}, {"name": "tree", "parents": 4}),
        (
            {"algorithm": {"name": "tree", "variant": "uct", "states": 9}},
            {"algorithm": {"name": "map-elites", "centroids": 3}},
            {"name": "map-elites", "centroids": 3},
        ),
        ({"algorithm": {"name": "tree", "states": 9}}, {"algorithm": "islands"}, {"name": "islands"}),
        ({"algorithm": {"name": "greedy", "epsilon": 0}}, {"algorithm": "halving"}, {"name": "halving", "epsilon": 0}),
        (
            {"algorithm": {"name": "halving", "epsilon": 0, "budget": 9}},
            {"algorithm": "greedy"},
            {"name": "greedy", "epsilon": 0},
        ),
        (
            {"algorithm": {"name": "tree", "states": 9}},
            {"algorithm": {"parents": 1}},
            {"name": "tree", "states": 9, "parents": 1},
        ),
    ],
)
def test_settings_of_another_algorithm_than_the_one_named_later_do_not_apply(
    file: dict[str, Any], flag: dict[str, Any], expected: dict[str, Any]
):
    algorithm = parse_settings(merge([{"search": file}, {"search": flag}]), "it").search.algorithm
    assert algorithm.model_dump(exclude_unset=True) == expected


def test_a_setting_that_another_algorithm_has_is_refused_with_the_reason():
    with pytest.raises(UsageError, match=r"search\.algorithm\.islands: the algorithm `tree` has no such setting"):
        parse_settings({"search": {"algorithm": {"name": "tree", "islands": 3}}}, "it")
    with pytest.raises(
        UsageError, match=r"no setting `search\.algorithm\.staets`; did you mean `search\.algorithm\.states`"
    ):
        parse_settings(merge([{"search": {"algorithm": {"staets": 3}}}, {"search": {"algorithm": "tree"}}]), "it")


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"search\.algorithm: expected one of 'greedy', 'islands', .*, got 'foo'"):
        parse_settings({"search": {"algorithm": "foo"}}, "it")


def test_later_layers_override_earlier_ones_and_tables_are_merged(tmp_path: Path):
    path = write(
        tmp_path, "[tool.overnight]\ninputs = [1]\n[tool.overnight.search]\nalgorithm.islands = 2\nprompts = 5"
    )
    (tmp_path / "overnight.toml").write_text("[search]\nalgorithm.islands = 3\nsamples = 7\n")
    search = load_problem(path, {"search": {"algorithm": {"islands": 4}}}).settings.search
    assert (islands_in(search), search.prompts, search.samples) == (4, 5, 7)


@pytest.mark.parametrize(
    ("parameters", "given", "calls"),
    [
        ("n", "8", (Call((8,)),)),
        ("n", "[8, 9]", (Call((8,)), Call((9,)))),
        ("pair", "[[12, 7]]", (Call(((12, 7),)),)),
        ("n, w", "[[12, 7]]", (Call((12, 7)),)),
        ("n, w=1", "[[12]]", (Call((12,)),)),
        ("instances", '[{"a": {"items": [1, 2]}}]', (Call(({"a": {"items": [1, 2]}},)),)),
        ("n, w", '[{"args": [1], "kwargs": {"w": 2}}]', (Call((1,), {"w": 2}),)),
        ("*n", "[[1, 2, 3]]", (Call((1, 2, 3)),)),
    ],
)
def test_inputs_of_every_shape_become_calls(tmp_path: Path, parameters: str, given: str, calls: tuple[Call, ...]):
    import json

    problem = load_problem(write(tmp_path, parameters=parameters), {"inputs": json.loads(given)})
    assert problem.inputs["train"] == calls


def test_an_input_file_is_read_from_the_specification_s_folder_and_stored_with_the_run(tmp_path: Path):
    (tmp_path / "data.json").write_text('{"items": [3, 1]}')
    problem = load_problem(write(tmp_path, '[tool.overnight]\ninputs = ["data.json"]'))
    assert problem.inputs["train"] == (Call(({"items": [3, 1]},)),)
    settings = problem.settings.model_dump(mode="json")
    (tmp_path / "data.json").unlink()
    again = restore_problem("mine", problem.specification.text, settings)
    assert again.inputs == problem.inputs


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("[tool.overnight]\ninput = [1]", "did you mean `inputs`?"),
        ("[tool.overnight]\ninputs = [1]\n[tool.overnight.limits]\nwall = 1", "did you mean `limits.wall_s`?"),
        (
            "[tool.overnight]\ninputs = [1]\n[tool.overnight.serch]\nislands = 1",
            "did you mean `search.algorithm.islands`?",
        ),
        ("[tool.overnight]\nsearch.islands = 1", "did you mean `search.algorithm.islands`?"),
        ("[tool.overnight]\ninputs = [1]\n[tool.overnight.limits]\nwall_s = -1", "greater than 0"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_suggestion(tmp_path: Path, block: str, message: str):
    with pytest.raises(UsageError, match=r"mine\.py") as caught:
        load_problem(write(tmp_path, block))
    assert message in caught.value.message


@pytest.mark.parametrize("split", ["inputs", "validation", "held_out"])
def test_more_inputs_than_could_be_scored_are_refused(tmp_path: Path, split: str):
    path = write(tmp_path)
    load_problem(path, {"inputs": [1], split: list(range(10_000))})
    with pytest.raises(SpecificationError, match=f"{split}: 300,000 inputs, expected at most 10,000") as caught:
        load_problem(path, {"inputs": [1], split: list(range(300_000))})
    assert "one input" in caught.value.remedy


def test_missing_and_unfit_inputs_are_refused(tmp_path: Path):
    with pytest.raises(SpecificationError, match="no inputs") as caught:
        load_problem(write(tmp_path))
    assert "--inputs" in caught.value.remedy
    with pytest.raises(SpecificationError, match="takes 2 arguments"):
        load_problem(write(tmp_path, parameters="n, w"), {"inputs": [[1, 2, 3]]})
    with pytest.raises(SpecificationError, match=r"input file .nowhere.json.*No such file"):
        load_problem(write(tmp_path), {"inputs": ["nowhere.json"]})


def test_an_invalid_block_and_two_blocks_are_refused(tmp_path: Path):
    broken = write(tmp_path, "[tool.overnight")
    line = 1 + broken.read_text().splitlines().index("# [tool.overnight")
    with pytest.raises(SpecificationError, match=rf"not valid TOML: .*at line {line}, "):
        load_problem(broken)
    path = write(tmp_path, "x = 1")
    path.write_text(path.read_text() * 2)
    with pytest.raises(SpecificationError):
        load_problem(path)


@pytest.mark.parametrize("line", ["", "inputs = [8]", "#inputs = [8]"])
def test_an_incomplete_block_is_refused_with_its_line(tmp_path: Path, line: str):
    path = tmp_path / "mine.py"
    path.write_text(f"# /// script\n# [tool.overnight]\n{line}\n# inputs = [9]\n# ///\n{BODY.format(parameters='n')}")
    with pytest.raises(SpecificationError, match=r"mine\.py:3: .* is incomplete") as caught:
        load_problem(path)
    assert "`# ///`" in caught.value.remedy


def test_a_block_without_an_end_is_refused(tmp_path: Path):
    path = write(tmp_path, "x = 1")
    path.write_text(path.read_text().replace("# ///\n", "", 1))
    with pytest.raises(SpecificationError, match="is incomplete"):
        load_problem(path)


def test_set_parses_tables_as_json_or_toml():
    settings: dict = {}
    set_by_path(settings, 'sampling.models=[{name="openai/x", input_usd=0}]')
    set_by_path(settings, "thresholds=[0.5, -inf]")
    assert settings["sampling"] == {"models": [{"name": "openai/x", "input_usd": 0}]}
    assert settings["thresholds"] == [0.5, float("-inf")]
    with pytest.raises(UsageError, match="neither JSON"):
        set_by_path(settings, "inputs=[1, 2")


def test_set_parses_json_or_text_and_explains_its_form():
    settings: dict = {}
    for assignment in ("search.prompts=4", "title=a name", "inputs=[1, 2]"):
        set_by_path(settings, assignment)
    assert settings == {"search": {"prompts": 4}, "title": "a name", "inputs": [1, 2]}
    with pytest.raises(UsageError, match="key=value"):
        set_by_path(settings, "search.prompts")


def test_a_job_is_isolated_if_the_settings_or_the_caller_ask_for_it(toy: Path):
    shared, isolated = load_problem(toy), load_problem(toy, {"sandbox": {"split": True}})
    assert shared.job().isolation is None
    isolation = shared.job(isolation=True).isolation
    assert isolation is not None
    assert (isolation.evolved, isolation.specification) == (("guess",), toy.read_text())
    assert isolated.job().isolation == isolation
    assert isolated.job(isolation=False).isolation is None


def test_thresholds_apply_to_the_training_inputs_in_order(tmp_path: Path):
    path = write(tmp_path, "[tool.overnight]\ninputs = [1, 2, 3]\nvalidation = [4]\nthresholds = [0.5, -inf]")
    problem = load_problem(path)
    assert problem.job("train").thresholds == (0.5, None)
    assert problem.job("validation").thresholds == ()
    written = problem.settings.model_dump(mode="json")
    assert restore_problem("mine", path.read_text(), written).settings.thresholds == (0.5, None)
    with pytest.raises(SpecificationError, match="2 thresholds for 1 inputs") as caught:
        load_problem(path, {"inputs": [1]})
    assert "thresholds=[]" in caught.value.remedy
    assert load_problem(path, {"inputs": [1], "thresholds": [None]}).settings.thresholds == (None,)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "low"])
def test_a_threshold_is_a_finite_number(tmp_path: Path, value: object):
    with pytest.raises(UsageError, match="thresholds"):
        load_problem(write(tmp_path), {"inputs": [1], "thresholds": [value]})


@pytest.mark.parametrize("content", [b"islands = [", b"title = '\xff'"], ids=["not TOML", "not UTF-8"])
def test_an_overnight_toml_that_cannot_be_parsed_is_named(content: bytes, tmp_path: Path):
    (tmp_path / "overnight.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"overnight\.toml: (not valid TOML|not UTF-8)"):
        load_problem(tmp_path)


@pytest.mark.parametrize(
    "model", ["relay:/tmp/x", "command:llm", "agent:mini-swe-agent/openai/a", ["openai/a", "relay:x=2"]]
)
def test_one_answer_a_prompt_is_asked_of_folders_commands_and_agents_unless_the_user_wants_more(model: Any):
    def samples(**search: Any) -> int:
        flags = {"sampling": {"models": model}, "search": search}
        return load_problem(find("bin-packing-or"), flags).settings.search.samples  # whose file asks for 2

    assert samples() == 1
    assert samples(samples=3) == 3
    assert load_problem(find("cap-set"), {"sampling": {"models": ["openai/a"]}}).settings.search.samples == 4
