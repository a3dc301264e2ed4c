-- Macros for common questions. A run is named by its id, a unique prefix of it, or 'last'; a program by its id.

-- The id of the run with this name. The last one is the one that was started last; of several, the last one by id.
CREATE MACRO the_run(name) AS (
    SELECT CASE
        WHEN name = 'last' THEN arg_max(run_id, (coalesce(started_at, '-infinity'), run_id))
        WHEN bool_or(run_id = name) THEN name
        WHEN name <> 'last' AND count(*) = 0 THEN error('no run begins with ' || name)
        WHEN count(*) > 1 THEN error('several runs begin with ' || name || ': give a longer prefix')
        ELSE max(run_id)
    END
    FROM files.runs WHERE name = 'last' OR starts_with(run_id, name)
);

-- All programs of the run of a program, without their long texts.
CREATE MACRO relatives(program) AS TABLE
SELECT program_id, generation, index, island, coalesce(niche, island::VARCHAR) AS niche, model, outcome, score, parent_ids FROM files.programs
WHERE run_id = (SELECT max(run_id) FROM files.programs WHERE program_id = program);

CREATE MACRO best_programs(run, how_many := 10) AS TABLE
WITH best AS (
    SELECT arg_min(generation, (generation, index)) AS generation, arg_min(index, (generation, index)) AS index
    FROM files.programs WHERE run_id = the_run(run) AND outcome = 'scored'
    GROUP BY code_hash
    ORDER BY max(score) DESC, generation, index LIMIT how_many
)
SELECT p.score, p.program_id, p.generation, p.island, p.model, p.body
FROM best AS b JOIN files.programs AS p ON p.generation = b.generation AND p.index = b.index
WHERE p.run_id = the_run(run)
ORDER BY p.score DESC, p.generation, p.index;

CREATE MACRO progress(run) AS TABLE
(SELECT
    generation,
    coalesce(sum(candidates) FILTER (generation > 0) OVER (ORDER BY generation), 0)::BIGINT AS samples,
    sum(cost_usd) OVER (ORDER BY generation) AS cost_usd,
    generation_best, best_score, ended_at
FROM files.generations WHERE run_id = the_run(run) ORDER BY generation),
() AS TABLE
SELECT
    run_id, problem, generation,
    coalesce(sum(candidates) FILTER (generation > 0) OVER past, 0)::BIGINT AS samples,
    sum(cost_usd) OVER past AS cost_usd,
    generation_best, best_score, ended_at
FROM files.generations JOIN (SELECT run_id, problem, started_at AS began_at FROM files.runs) USING (run_id)
WINDOW past AS (PARTITION BY run_id ORDER BY generation)
ORDER BY began_at, run_id, generation;

CREATE MACRO improvements(run) AS TABLE
SELECT
    sample, generation, night, program_id, score, score - coalesce(before, start) AS gain,
    best_parent_score, model, operator, idea, judged_at
FROM (
    SELECT
        *, max(score) FILTER (is_record) OVER (
            ORDER BY sample ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before,
        max(score) FILTER (generation = 0) OVER () AS start
    FROM programs WHERE run_id = the_run(run)
)
WHERE is_record ORDER BY sample;

-- The first line of an error, with # in place of numbers, so that errors of one kind are equal.
CREATE MACRO kind_of(message) AS
    regexp_replace(split_part(message, chr(10), 1), '-?[0-9][0-9.e+]*', '#', 'g');

CREATE MACRO failures(run) AS TABLE
SELECT
    outcome, kind_of(error) AS kind, count(*) AS times, list_sort(list(DISTINCT model)) AS models,
    max(sample) AS last_sample, arg_max(program_id, sample) AS last_program_id, arg_max(error, sample) AS last_error
FROM programs WHERE run_id = the_run(run) AND generation > 0 AND outcome NOT IN ('scored', 'duplicate')
GROUP BY outcome, kind ORDER BY times DESC, outcome, kind;

CREATE MACRO ideas(run) AS TABLE
SELECT
    idea, count(*) AS times, count(*) FILTER (outcome = 'scored') AS scored, count(*) FILTER (is_record) AS records,
    max(score) AS best_score, max(score - best_parent_score) AS best_gain, min(sample) AS first_sample,
    arg_max(program_id, score) AS best_program_id, list_sort(list(DISTINCT model)) AS models
FROM programs WHERE run_id = the_run(run) AND idea <> ''
GROUP BY idea ORDER BY best_score DESC NULLS LAST, first_sample;

CREATE MACRO lineage(program) AS TABLE
WITH RECURSIVE family AS MATERIALIZED (FROM relatives(program)),
births AS MATERIALIZED (SELECT program_id, unnest(parent_ids) AS parent_id FROM family),
ancestry(program_id, depth) USING KEY (program_id) AS (
    SELECT program, 0
    UNION
    SELECT b.parent_id, min(a.depth) + 1 FROM ancestry AS a JOIN births AS b USING (program_id)
    WHERE b.parent_id NOT IN (SELECT program_id FROM recurring.ancestry)
    GROUP BY b.parent_id
)
SELECT a.depth, p.program_id, p.generation, p.island, p.model, p.score, p.parent_ids
FROM ancestry AS a JOIN family AS p USING (program_id)
ORDER BY a.depth, p.generation DESC, p.index;

CREATE MACRO descendants(program) AS TABLE
WITH RECURSIVE family AS MATERIALIZED (FROM relatives(program)),
births AS MATERIALIZED (SELECT program_id, unnest(parent_ids) AS parent_id FROM family),
progeny(program_id, depth) USING KEY (program_id) AS (
    SELECT program, 0
    UNION
    SELECT b.program_id, min(d.depth) + 1 FROM progeny AS d JOIN births AS b ON b.parent_id = d.program_id
    WHERE b.program_id NOT IN (SELECT program_id FROM recurring.progeny)
    GROUP BY b.program_id
)
SELECT d.depth, p.program_id, p.generation, p.island, p.model, p.outcome, p.score, p.parent_ids
FROM progeny AS d JOIN family AS p USING (program_id)
ORDER BY d.depth, p.generation, p.index;

CREATE MACRO cost_by_model() AS TABLE
SELECT
    run_id, model, count(*) AS samples, sum(tokens_in)::BIGINT AS tokens_in,
    sum(tokens_out)::BIGINT AS tokens_out, sum(cost_usd) AS cost_usd, max(score) AS best_score,
    sum(tokens_cached)::BIGINT AS tokens_cached
FROM files.programs WHERE generation > 0 GROUP BY run_id, model ORDER BY cost_usd DESC, samples DESC, run_id, model;

CREATE MACRO outcomes_by_model() AS TABLE
SELECT run_id, model, outcome, count(*) AS candidates
FROM files.programs WHERE generation > 0 GROUP BY ALL ORDER BY run_id, model, candidates DESC, outcome;

-- A reset removes all programs of a niche together, so programs with the same to_generation belong to the same span
-- between two resets.
CREATE MACRO niches_over_time(run) AS TABLE
WITH stays AS (
    SELECT s.niche, s.program_id, s.cluster, s.from_generation, s.to_generation, s.event, p.score
    FROM population AS s JOIN files.programs AS p USING (run_id, program_id)
    WHERE s.run_id = the_run(run) AND s.from_generation IS DISTINCT FROM s.to_generation
),
arrivals AS (
    SELECT
        niche, from_generation, event,
        count(*) OVER span AS programs,
        count(*) FILTER (is_new) OVER span AS clusters,
        max(score) OVER span AS best_score
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY niche, to_generation, cluster ORDER BY from_generation, program_id
        ) = 1 AS is_new
        FROM stays
    )
    WINDOW span AS (PARTITION BY niche, to_generation ORDER BY from_generation)
),
states AS (
    SELECT DISTINCT niche, from_generation, programs, clusters, best_score,
        bool_or(event = 'founded' AND from_generation > 0) OVER (PARTITION BY niche, from_generation) AS was_reset
    FROM arrivals
),
moments AS (
    SELECT g.generation, i.niche
    FROM files.generations AS g, (SELECT DISTINCT niche FROM states) AS i WHERE g.run_id = the_run(run)
)
SELECT
    m.generation, m.niche, s.programs, s.clusters, s.best_score,
    s.was_reset AND s.from_generation = m.generation AS was_reset
FROM moments AS m ASOF JOIN states AS s ON s.niche = m.niche AND m.generation >= s.from_generation
ORDER BY m.generation, m.niche;

CREATE MACRO islands_over_time(run) AS TABLE
SELECT generation, niche::INTEGER AS island, programs, clusters, best_score, was_reset FROM niches_over_time(run)
ORDER BY generation, island;

CREATE MACRO duplicates(run) AS TABLE
SELECT
    count(*) AS times,
    arg_min(program_id, (generation, index)) AS first_program_id,
    min(generation) AS first_generation,
    max(generation) AS last_generation,
    arg_min(outcome, (generation, index)) AS outcome,
    max(score) AS score,
    list_sort(list(DISTINCT model)) AS models,
    arg_min(body, (generation, index)) AS body
FROM files.programs WHERE run_id = the_run(run) AND code_hash <> ''
GROUP BY code_hash HAVING count(*) > 1
ORDER BY times DESC, first_generation, first_program_id;
