-- What people ask. Each takes a run id, in full.

-- The best programs of a run, one row a distinct body.
CREATE MACRO best_programs(run, how_many := 10) AS TABLE
SELECT score, program_id, generation, island, model, body
FROM programs WHERE run_id = run AND outcome = 'scored'
QUALIFY row_number() OVER (PARTITION BY code_hash ORDER BY generation, index) = 1
ORDER BY score DESC, generation, index LIMIT how_many;

-- Score over time: one row a committed generation.
CREATE MACRO progress(run) AS TABLE
SELECT
    generation,
    coalesce(sum(candidates) FILTER (generation > 0) OVER (ORDER BY generation), 0)::BIGINT AS samples,
    sum(cost_usd) OVER (ORDER BY generation) AS cost_usd,
    generation_best, best_score, ended_at
FROM generations WHERE run_id = run AND state = 'committed' ORDER BY generation;

-- A program and all it descends from, itself first.
CREATE MACRO lineage(program) AS TABLE
WITH RECURSIVE ancestry AS (
    SELECT program_id, parent_ids, 0 AS depth FROM programs WHERE program_id = program
    UNION
    SELECT p.program_id, p.parent_ids, a.depth + 1
    FROM ancestry AS a, programs AS p WHERE list_contains(a.parent_ids, p.program_id)
)
SELECT a.depth, p.program_id, p.generation, p.island, p.model, p.score, p.parent_ids
FROM (SELECT program_id, min(depth) AS depth FROM ancestry GROUP BY ALL) AS a JOIN programs AS p USING (program_id)
ORDER BY a.depth, p.generation DESC;

-- What each model cost, and what it gave.
CREATE MACRO cost_by_model() AS TABLE
SELECT
    run_id, model, count(*) AS samples, sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out,
    sum(cost_usd) AS cost_usd, max(score) AS best_score
FROM programs WHERE generation > 0 GROUP BY run_id, model ORDER BY cost_usd DESC, samples DESC;

-- How many candidates of each outcome each model gave.
CREATE MACRO outcomes_by_model() AS TABLE
SELECT run_id, model, outcome, count(*) AS candidates
FROM programs WHERE generation > 0 GROUP BY ALL ORDER BY run_id, model, candidates DESC;
