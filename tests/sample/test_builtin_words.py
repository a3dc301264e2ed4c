"""The built-in model uses the names that a prompt shows: attributes, keys, constants and arguments, and no others."""

import ast

import pytest

from overnight.tasks.sample.builtin import mutate
from overnight.tasks.sample.builtin.expression_types import ARRAY, FLOAT, INT, OBJECT, Kind, sequence
from overnight.tasks.sample.builtin.mutation_sites import survey
from overnight.tasks.sample.builtin.prompt_parsing import parse_prompt
from tests.sample.test_builtin import body_of, function_of, make_prompt, source_of

SHOP = '''"""A job shop."""
from dataclasses import dataclass
from typing import NamedTuple, TypedDict


@dataclass(frozen=True)
class Operation:
    """One step of a job."""

    seconds: float
    remaining_s: float
    label: str

    def is_last(self) -> bool:
        return self.seconds == self.remaining_s

    @property
    def share(self) -> float:
        return self.seconds / self.remaining_s


class Machine:
    def __init__(self, queue: list[Operation], speed: float):
        self.queue = queue
        self.speed: float = speed
        self.repairs = 0


class Item(NamedTuple):
    value: float
    weight: float


class Order(TypedDict):
    due: float
    items: list[Item]


'''
RANK = "def rank_v{}(operation: Operation, machine: Machine) -> float:"
WORTH = "def worth_v{}(item: dict, room: float) -> float:"
ITEM = '''"""How much an item is wanted.

Args:
    item: A dictionary with the keys "value" and "weight".
    room: What is left of the capacity.
"""
'''
CAPACITY = '"""Pack a knapsack."""\nCAPACITY = 100\n\n\n'
JOBS = "def urgency_v{}(job, now: float) -> float:"
PACK = "def score_v{}(weight: float, value: float) -> float:"
PLACE = "def place_v{}(row: int, column: int) -> float:"


def shown(header: str, *bodies: str, preface: str = "", docstring: str = "") -> str:
    """Return a prompt whose first version has a docstring of its own."""
    text = make_prompt(header, *bodies, preface=preface)
    return text.replace('"""Version 0."""', docstring.strip().replace("\n", "\n    "), 1) if docstring else text


PROMPTS = {
    "attributes": shown(RANK, "return operation.remaining_s", preface=SHOP),
    "keys": shown(WORTH, 'return item["value"]', preface=CAPACITY, docstring=ITEM),
    "keys in code": shown(JOBS, 'return job["due"] * job.get("weight", 1)'),
    "numbers": shown(PACK, "return value", preface=CAPACITY),
    "a list": shown("def rest_v{}(orders: list[Order]) -> float:", "return 0.0", preface=SHOP),
}
RATIOS = {
    "attributes": "operation.remaining_s / len(machine.queue)",
    "keys": "item['value'] / item['weight']",
    "keys in code": "job['due'] - now",
    "numbers": "value / weight",
}


def fields(kind: Kind) -> dict[str, Kind]:
    return dict(kind.fields)


def env_of(header: str, *bodies: str, preface: str = "", docstring: str = "", facts: str = "") -> dict[str, Kind]:
    return parse_prompt(shown(header, *bodies, preface=preface, docstring=docstring), facts).env


def test_the_attributes_of_a_class_that_the_prompt_shows_are_known():
    env = env_of(RANK, "return 0.0", preface=SHOP)

    operation, machine = fields(env["operation"]), fields(env["machine"])
    assert operation == {"seconds": FLOAT, "remaining_s": FLOAT, "label": OBJECT, "share": FLOAT}
    assert machine == {"queue": sequence(env["operation"]), "speed": FLOAT, "repairs": INT}


def test_a_typed_dictionary_has_keys_and_a_named_tuple_attributes():
    env = env_of("def rest_v{}(order: Order, item: 'Item') -> float:", "return 0.0", preface=SHOP)

    assert env["order"].has_keys
    assert fields(env["order"])["items"].item == env["item"]
    assert list(fields(env["item"])) == ["value", "weight"]


def test_a_class_that_names_itself_is_read():
    node = "class Node:\n    size: float\n    next: Node\n\n\n"

    assert fields(env_of("def f_v{}(node: Node):", "return 0.0", preface=node)["node"])["size"] == FLOAT


@pytest.mark.parametrize(
    "docstring",
    [
        ITEM,
        '"""Say how much `item["value"]` is worth, beside `item["weight"]`."""',
        '"""Rank it.\n\nArgs:\n    item: Its `value` and its\n        `weight`, in kg.\n    room: Such as "much".\n"""',
        '"""Items are dictionaries such as {"value": 3, "weight": 2.5}."""',
    ],
    ids=["keys", "read", "entry", "example"],
)
def test_the_keys_of_a_dictionary_are_those_that_the_docstring_names(docstring):
    assert fields(env_of(WORTH, "return 0.0", docstring=docstring)["item"]) == {"value": FLOAT, "weight": FLOAT}


def test_the_facts_may_name_the_keys():
    facts = 'Pack a knapsack.\n\nEach item has "value" (int), "name" (a text) and "parts" (list). A "bin" is none.'

    item = fields(env_of(WORTH, "return 0.0", facts=facts)["item"])
    assert item == {"name": OBJECT, "parts": sequence(FLOAT), "value": INT}


def test_the_keys_and_attributes_that_shown_code_reads_are_known():
    loop = 'for step in sorted(job["steps"]):\n    now += step.length - step.first()\nreturn len(job["names"]) + now'
    job = fields(env_of(JOBS, "return job['due']", loop)["job"])

    assert job["due"] == FLOAT
    assert job["names"] == sequence(FLOAT)
    assert fields(job["steps"].item or FLOAT) == {"length": FLOAT}


def test_what_a_failed_try_reads_is_not_taken():
    prompt = shown(JOBS, "return job['due']") + "\n\nThe last try:\n\ndef urgency(job, now):\n    return job['slack']\n"

    assert "slack" not in fields(parse_prompt(prompt).env["job"])


def test_what_is_no_dictionary_has_no_keys():
    header = 'def f_v{}(name: str, sizes: dict[int, float], bins, x: float) -> float:\n    """A "name", "sizes"."""\n'
    env = env_of(header, "return bins[0] + np.sum(bins)")

    assert [env[word] for word in ("name", "sizes", "bins", "x")] == [OBJECT, OBJECT, ARRAY, FLOAT]


@pytest.mark.parametrize("name", PROMPTS)
def test_an_answer_reads_no_other_names_attributes_and_keys(name):
    parsed = parse_prompt(PROMPTS[name])
    known = {word for kind in parsed.env.values() for word in _words(kind)}
    for seed in range(60):
        function = function_of(mutate(PROMPTS[name], seed))
        assert not survey(function, parsed.env).undefined
        used = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
        used |= {n.value for n in map(_key, ast.walk(function)) if n}
        assert used <= known | {"get"}


def _key(node: ast.AST) -> ast.Constant | None:
    index = node.slice if isinstance(node, ast.Subscript) else None
    return index if isinstance(index, ast.Constant) and isinstance(index.value, str) else None


def _words(kind: Kind) -> set[str]:
    inner = [own for _, own in kind.fields] + ([kind.item] if kind.item else [])
    return {word for word, _ in kind.fields}.union(*map(_words, inner))


@pytest.mark.parametrize("name", PROMPTS)
def test_many_answers_use_a_word_that_no_version_uses(name):
    parsed = parse_prompt(PROMPTS[name])
    words = {word for kind in parsed.env.values() for word in _words(kind)} | parsed.env.keys()
    new = [word for word in words if word not in source_of(list(parsed.parents[0].body))]
    answers = [source_of(body_of(mutate(PROMPTS[name], seed))) for seed in range(100)]

    assert sum(any(word in answer for word in new) for answer in answers) > 30


@pytest.mark.parametrize("name", RATIOS)
def test_a_ratio_of_two_words_is_among_100_answers(name):
    seeds = range(8)
    found = [any(RATIOS[name] in mutate(PROMPTS[name], 100 * seed + k) for k in range(100)) for seed in seeds]

    assert sum(found) >= 6


def test_no_ratio_of_numbers_that_count_is_tried():
    """It is no better on built-in problems with such arguments, where one of them is often 0."""
    answers = [mutate(shown(PLACE, "return row"), seed) for seed in range(100)]

    assert sum("row / column" in answer for answer in answers) < 5


def test_a_list_of_records_is_summed_and_counted():
    answers = "".join(mutate(PROMPTS["a list"], seed) for seed in range(100))

    assert "len(orders)" in answers
    assert "for v in orders" in answers
    assert "v['due']" in answers
