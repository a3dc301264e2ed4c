"""Figures of how models answer, each from a query on the store, with an interval; personas are fitted to them.

A query gives the rows of a figure: a cluster, which is drawn as a whole, and what is measured. Intervals have 95 %,
from 1,000 resamples of the clusters, or of the rows where there are fewer than three clusters; shares are never
narrower than Wilson's interval. The seed is fixed, so that the same store has the same figures. Few rows are no figure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from tests.bench.real_answers import store
from tests.bench.simulated.comparison import reached

PATH = Path(__file__).with_name("figures.json")
RESAMPLES = 1000
_FEW_CLUSTERS, _FEW_ROWS = 3, 20

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        persona: Class of models.
        name: What is measured.
        value: Its value.
        low: Lower end of its interval.
        high: Upper end.
        rows: Rows that it was measured on.
        clusters: Clusters of them.
        query: The query that gave the rows.
    """

    persona: str
    name: str
    value: float
    low: float
    high: float
    rows: int
    clusters: int
    query: str


VIEWS = """
-- Samples whose outcome is known, by class of models. EoH's and LEVI's have no parents.
CREATE VIEW judged AS SELECT *, verdict = 'scored' AS is_valid,
    CASE WHEN source IN ('shinka', 'overnight') THEN 'frontier' WHEN source = 'openevolve' THEN 'gpt-4-class'
         WHEN source = 'eoh' THEN 'deepseek-chat' ELSE 'small' END AS persona
FROM answers WHERE verdict IS NOT NULL AND sample > 0 AND NOT (source = 'eoh' AND operator = 'i1');

-- Where a search began and the best score of any run of the problem. PRISM's evaluator takes a placement that leaves
-- models out: scores above 30 are of that kind and no gain.
CREATE VIEW ends AS
SELECT problem, max(told) FILTER (problem <> 'prism' OR told < 30) AS best,
       coalesce(min(told) FILTER (sample = 0), arg_min(parent_told, sample)) AS start
FROM answers GROUP BY problem;

-- Scored children of scored parents, with the gap of the parent in units of the start's.
CREATE VIEW pairs AS
SELECT judged.*, told > parent_told + 1e-9 AS is_better,
       greatest(0, least(1, (best - parent_told) / (best - start))) AS gap,
       (told - parent_told) / (best - parent_told) AS gain
FROM judged JOIN ends USING (problem)
WHERE told IS NOT NULL AND parent_told IS NOT NULL AND (problem <> 'prism' OR greatest(told, parent_told) < 30);

-- `rank` is the share of the earlier programs of its run that are better than the parent: 0 for the best. `is_new`:
-- better than all of them.
CREATE VIEW ranked AS
SELECT pairs.*, rank, told > highest + 1e-9 AS is_new
FROM pairs, LATERAL (SELECT avg((one.told > pairs.parent_told + 1e-9)::INT) AS rank,
                            max(one.told) FILTER (one.problem <> 'prism' OR one.told < 30) AS highest
                     FROM judged one
                     WHERE one.run_id = pairs.run_id AND one.sample < pairs.sample AND one.told IS NOT NULL);
"""
"""Views that the queries use."""


def _of(view: str, what: str, where: str = "true") -> str:
    return f"SELECT run_id, {what} FROM {view} WHERE persona = '{{persona}}' AND {where}"


def _siblings(view: str, key: str, what: str) -> str:
    """Return a query for rows with the same value of a column in a run, which is their cluster."""
    return (
        f"SELECT run_id || {key}, {what} FROM {view} WHERE persona = '{{persona}}' AND {key} <> '' "
        f"QUALIFY count(*) OVER (PARTITION BY run_id, {key}) > 1"
    )


def _repeated(within: str) -> str:
    return f"(row_number() OVER (PARTITION BY {within}, body_hash ORDER BY sample) > 1)::INT"


def mean(rows: Rows, _: NDArray[np.int64]) -> float:
    return float(rows[:, 0].mean())


def median(rows: Rows, _: NDArray[np.int64]) -> float:
    return float(np.median(rows[:, 0]))


def likeness(rows: Rows, clusters: NDArray[np.int64]) -> float:
    """Return the intraclass correlation of the members of clusters: how much alike siblings are (ANOVA's estimate)."""
    values = rows[:, 0]
    sizes = np.bincount(clusters)
    means = np.bincount(clusters, values) / np.maximum(1, sizes)
    count, groups = len(values), int((sizes > 0).sum())
    between = float((sizes * (means - values.mean()) ** 2).sum()) / max(1, groups - 1)
    within = float(((values - means[clusters]) ** 2).sum()) / max(1, count - groups)
    size = (count - float((sizes.astype(float) ** 2).sum()) / count) / max(1, groups - 1)
    return (between - within) / (between + (size - 1) * within) if between + within else 0.0


_SLOPES = np.concatenate([[0.0], np.geomspace(0.02, 1.0, 24)])
_FLOORS = np.concatenate([[0.0], np.geomspace(0.005, 0.5, 16)])
POWER = 0.5
"""Power of the gap in the chance of a gain, fixed: the data cannot tell it from the slope."""


def slope(rows: Rows, _: NDArray[np.int64]) -> float:
    """Return a of the chance of a gain, a · gap^0.5 + c, by maximum likelihood; rows are gaps and gains."""
    return _fitted(rows)[0]


def floor(rows: Rows, _: NDArray[np.int64]) -> float:
    """Return c of it."""
    return _fitted(rows)[1]


def _fitted(rows: Rows) -> tuple[float, float]:
    chances = _SLOPES[:, None, None] * rows[:, 0] ** POWER + _FLOORS[None, :, None]
    chances = np.clip(chances, 1e-6, 1 - 1e-6)
    likelihood = np.where(rows[:, 1] > 0, np.log(chances), np.log1p(-chances)).sum(axis=2)
    a, c = np.unravel_index(int(likelihood.argmax()), likelihood.shape)
    return float(_SLOPES[a]), float(_FLOORS[c])


Statistic = Callable[[Rows, NDArray[np.int64]], float]
_BETTER, _NEW, _PROGRAMS = "is_better::INT", "is_new::INT", "(FROM judged WHERE body <> '')"
_TOLD, _TIMED = "(FROM judged WHERE NOT is_valid AND source <> 'levi')", "source NOT IN ('levi', 'eoh')"
FIGURES: dict[str, tuple[str, Statistic]] = {
    "valid": (_of("judged", "is_valid::INT"), mean),
    "valid, edits": (_of("judged", "is_valid::INT", "form = 'edits'"), mean),
    "valid, whole": (_of("judged", "is_valid::INT", "form = 'whole'"), mean),
    "failed: no program": (_of(_TOLD, "(verdict = 'unparsable')::INT"), mean),
    "failed: syntax": (_of(_TOLD, "(NOT coalesce(is_python, true))::INT"), mean),
    "failed: time": (_of(_TOLD, "(verdict = 'timed_out')::INT", _TIMED), mean),
    "edits that do not apply": (_of("judged", "(verdict = 'unparsable')::INT", "form = 'edits'"), mean),
    "edits where offered": (
        _of("judged", "(form = 'edits')::INT", "source = 'overnight' AND prompt LIKE '%SEARCH%'"), mean
    ),
    "repeats": (_of(_PROGRAMS, _repeated("run_id")), mean),
    "repeats, one prompt": (_siblings(_PROGRAMS, "md5(nullif(prompt, ''))", _repeated("run_id, prompt")), mean),
    "better": (_of("ranked", _BETTER), mean),
    "better, edits": (_of("ranked", _BETTER, "form = 'edits'"), mean),
    "better, whole": (_of("ranked", _BETTER, "form = 'whole'"), mean),
    "better, parent the best": (_of("ranked", _BETTER, "rank = 0"), mean),
    "better, parent the best, edits": (_of("ranked", _BETTER, "rank = 0 AND form = 'edits'"), mean),
    "better, parent the best, whole": (_of("ranked", _BETTER, "rank = 0 AND form = 'whole'"), mean),
    "better, parent of the best quarter": (_of("ranked", _BETTER, "rank > 0 AND rank <= 0.25"), mean),
    "better, parent below": (_of("ranked", _BETTER, "rank > 0.25"), mean),
    "new best, parent the best": (_of("ranked", _NEW, "rank = 0"), mean),
    "new best, parent of the best quarter": (_of("ranked", _NEW, "rank > 0 AND rank <= 0.25"), mean),
    "new best, parent below": (_of("ranked", _NEW, "rank > 0.25"), mean),
    "slope": (_of("ranked", f"gap, {_BETTER}", "rank = 0"), slope),
    "floor": (_of("ranked", f"gap, {_BETTER}", "rank = 0"), floor),
    "gain, of the gap": (_of("ranked", "gain", "is_better"), median),
    "gain, of the gap, parent the best": (_of("ranked", "gain", "is_better AND rank = 0"), median),
    "siblings alike: valid": (_siblings("judged", "parent_hash", "is_valid::INT"), likeness),
    "siblings alike: better": (_siblings("ranked", "parent_hash", _BETTER), likeness),
    "siblings alike: better, parent the best": (
        _siblings("(FROM ranked WHERE rank = 0)", "parent_hash", _BETTER), likeness
    ),
    "tokens of an answer": (_of("judged", "tokens_out", "tokens_out > 0"), median),
    "tokens, edits": (_of("judged", "tokens_out", "form = 'edits'"), median),
    "tokens, whole": (_of("judged", "tokens_out", "form = 'whole'"), median),
}  # fmt: skip
"""Query and statistic of each figure; `{persona}` stands for the class of models."""

PERSONAS = ("frontier", "gpt-4-class", "deepseek-chat", "small")


def figures(folder: Path) -> list[Figure]:
    """Return all figures of a store; those with few rows are left out."""
    database = store.connect(folder)
    database.execute(VIEWS)
    found = []
    for persona in PERSONAS:
        for name, (query, statistic) in FIGURES.items():
            figure = measure(database, persona, name, query.format(persona=persona), statistic)
            found += [] if figure is None else [figure]
    return found


def measure(
    database: duckdb.DuckDBPyConnection, persona: str, name: str, query: str, statistic: Statistic
) -> Figure | None:
    """Return one figure; `None` if its query gives few rows."""
    rows = sorted(database.execute(query).fetchall())
    if len(rows) < _FEW_ROWS:
        return None
    names = sorted({row[0] for row in rows})
    place = {name: number for number, name in enumerate(names)}
    clusters, values = np.array([place[row[0]] for row in rows]), np.array([row[1:] for row in rows], np.float64)
    value = statistic(values, clusters)
    low, high = _interval(values, clusters, statistic)
    if statistic is mean and set(np.unique(values)) <= {0.0, 1.0}:
        wilson = reached([1 if hit else None for hit in values[:, 0]], 1)
        low, high = min(low, wilson.low), max(high, wilson.high)
    value, low, high = (float(f"{one:.4g}") for one in (value, low, high))
    return Figure(persona, name, value, low, high, len(rows), len(names), query)


def _interval(values: Rows, clusters: NDArray[np.int64], statistic: Statistic) -> tuple[float, float]:
    rng, count = np.random.default_rng(0), int(clusters.max()) + 1
    few = count < _FEW_CLUSTERS
    members = [np.flatnonzero(clusters == number) for number in range(count)]
    drawn = []
    for _ in range(RESAMPLES):
        if few:
            chosen = rng.integers(len(values), size=len(values))
            drawn.append(statistic(values[chosen], clusters[chosen]))
            continue
        groups = [members[number] for number in rng.integers(count, size=count)]
        chosen, again = np.concatenate(groups), np.repeat(np.arange(count), [len(group) for group in groups])
        drawn.append(statistic(values[chosen], again))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def write(found: Sequence[Figure], path: Path = PATH) -> None:
    """Write figures as JSON, one a line, and the views that their queries use."""
    lines = ",\n".join(json.dumps(asdict(figure)) for figure in found)
    path.write_text(f'{{"views": {json.dumps(VIEWS)},\n"figures": [\n{lines}\n]}}\n')


def load(path: Path = PATH) -> list[Figure]:
    """Return the figures of a file."""
    return [Figure(**one) for one in json.loads(path.read_text())["figures"]]
