-- Macros for common questions. A run is named by its id, a unique prefix of it, or 'last'; a program by its id.

-- The id of the run with this name. The last one is the one that was started last; of several, the last one by id.
CREATE OR REPLACE MACRO the_run(name) AS (
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
CREATE OR REPLACE MACRO relatives(program) AS TABLE
SELECT program_id, generation, index, niche, model, operator, outcome, score, parent_ids
FROM files.programs
WHERE run_id = (SELECT max(run_id) FROM files.programs WHERE program_id = program);

-- All programs of a run, with the place of their generation in the order of commits.
CREATE OR REPLACE MACRO programs_of(run) AS TABLE
SELECT own.*, its.place
FROM files.programs AS own
LEFT JOIN files.generations AS its ON its.run_id = own.run_id AND its.generation = own.generation
WHERE own.run_id = the_run(run);

CREATE OR REPLACE MACRO best_programs(run, how_many := 10) AS TABLE
WITH best AS (
    SELECT arg_min(generation, (place, index)) AS generation, arg_min(index, (place, index)) AS index
    FROM programs_of(run) WHERE outcome = 'scored'
    GROUP BY code_hash
    ORDER BY max(score) DESC, min((place, index)) LIMIT how_many
)
SELECT p.score, p.program_id, p.generation, p.niche, p.model, p.body
FROM best AS b JOIN programs_of(run) AS p ON p.generation = b.generation AND p.index = b.index
ORDER BY p.score DESC, p.place, p.index;

CREATE OR REPLACE MACRO progress(run) AS TABLE
(SELECT
    generation, samples_so_far AS samples, cost_so_far_usd AS cost_usd, generation_best, best_score, ended_at
FROM generations WHERE run_id = the_run(run) AND state = 'committed' ORDER BY place),
() AS TABLE
SELECT
    run_id, problem, generation, samples_so_far AS samples, cost_so_far_usd AS cost_usd,
    generation_best, best_score, ended_at
FROM generations JOIN (SELECT run_id, problem, started_at AS began_at FROM files.runs) USING (run_id)
WHERE state = 'committed' ORDER BY began_at, run_id, place;

CREATE OR REPLACE MACRO improvements(run) AS TABLE
SELECT
    sample, generation, night, program_id, score, score - coalesce(before, start) AS gain,
    best_parent_score, model, operator, idea, judged_at
FROM (
    SELECT
        *, max(score) FILTER (is_record) OVER (
            ORDER BY place, index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS before,
        max(score) FILTER (generation = 0) OVER () AS start
    FROM programs WHERE run_id = the_run(run)
)
WHERE is_record ORDER BY place, index;

-- The first line of an error without its line and input, and with # in place of numbers: errors of one kind are equal.
CREATE OR REPLACE MACRO kind_of(message) AS regexp_replace(
    regexp_replace(split_part(message, chr(10), 1), '(, in line| \(in line|, on input).*', ''),
    '-?[0-9][0-9.e+]*', '#', 'g'
);

CREATE OR REPLACE MACRO failures(run) AS TABLE
SELECT
    outcome, kind_of(error) AS kind, count(*) AS times, list_sort(list(DISTINCT model)) AS models,
    max(sample) AS last_sample, arg_max(program_id, sample) AS last_program_id, arg_max(error, sample) AS last_error
FROM programs WHERE run_id = the_run(run) AND generation > 0 AND outcome NOT IN ('scored', 'duplicate')
GROUP BY outcome, kind ORDER BY times DESC, outcome, kind;

CREATE OR REPLACE MACRO ideas(run) AS TABLE
SELECT
    idea, count(*) AS times, count(*) FILTER (outcome = 'scored') AS scored, count(*) FILTER (is_record) AS records,
    max(score) AS best_score, max(score - best_parent_score) AS best_gain, min(sample) AS first_sample,
    arg_max(program_id, score) AS best_program_id, list_sort(list(DISTINCT model)) AS models
FROM programs WHERE run_id = the_run(run) AND idea <> ''
GROUP BY idea ORDER BY best_score DESC NULLS LAST, first_sample;

CREATE OR REPLACE MACRO lineage(program) AS TABLE
WITH RECURSIVE family AS MATERIALIZED (FROM relatives(program)),
births AS MATERIALIZED (SELECT program_id, unnest(parent_ids) AS parent_id FROM family),
ancestry(program_id, depth) USING KEY (program_id) AS (
    SELECT program, 0
    UNION
    SELECT b.parent_id, min(a.depth) + 1 FROM ancestry AS a JOIN births AS b USING (program_id)
    WHERE b.parent_id NOT IN (SELECT program_id FROM recurring.ancestry)
    GROUP BY b.parent_id
)
SELECT a.depth, p.program_id, p.generation, p.niche, p.model, p.operator, p.score, p.parent_ids
FROM ancestry AS a JOIN family AS p USING (program_id)
ORDER BY a.depth, p.generation DESC, p.index;

CREATE OR REPLACE MACRO descendants(program) AS TABLE
WITH RECURSIVE family AS MATERIALIZED (FROM relatives(program)),
births AS MATERIALIZED (SELECT program_id, unnest(parent_ids) AS parent_id FROM family),
progeny(program_id, depth) USING KEY (program_id) AS (
    SELECT program, 0
    UNION
    SELECT b.program_id, min(d.depth) + 1 FROM progeny AS d JOIN births AS b ON b.parent_id = d.program_id
    WHERE b.program_id NOT IN (SELECT program_id FROM recurring.progeny)
    GROUP BY b.program_id
)
SELECT d.depth, p.program_id, p.generation, p.niche, p.model, p.operator, p.outcome, p.score, p.parent_ids
FROM progeny AS d JOIN family AS p USING (program_id)
ORDER BY d.depth, p.generation, p.index;

CREATE OR REPLACE MACRO cost_by_model() AS TABLE
SELECT
    run_id, model, coalesce(samples, 0) AS samples, tokens_in, tokens_out, cost_usd, best_score, tokens_cached
FROM (
    SELECT
        run_id, model, sum(tokens_in)::BIGINT AS tokens_in, sum(tokens_out)::BIGINT AS tokens_out,
        sum(cost_usd) AS cost_usd, sum(tokens_cached)::BIGINT AS tokens_cached
    FROM costs GROUP BY run_id, model
)
FULL JOIN (
    SELECT run_id, model, count(*) AS samples, max(score) AS best_score
    FROM files.programs WHERE generation > 0 GROUP BY run_id, model
) USING (run_id, model) ORDER BY cost_usd DESC, samples DESC, run_id, model;

CREATE OR REPLACE MACRO outcomes_by_model() AS TABLE
SELECT run_id, model, outcome, count(*) AS candidates
FROM files.programs WHERE generation > 0 GROUP BY ALL ORDER BY run_id, model, candidates DESC, outcome;

-- A reset removes all programs of a niche together, so programs with the same to_place belong to the same span between
-- two resets.
CREATE OR REPLACE MACRO niche_states(run) AS TABLE
WITH stays AS (
    SELECT s.niche, s.program_id, s.cluster, s.from_place, s.to_place, s.event, p.score
    FROM population AS s JOIN files.programs AS p USING (run_id, program_id)
    WHERE s.run_id = the_run(run) AND s.from_place IS DISTINCT FROM s.to_place
),
arrivals AS (
    SELECT
        niche, from_place, event,
        count(*) OVER span AS programs,
        count(*) FILTER (is_new) OVER span AS clusters,
        max(score) OVER span AS best_score
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY niche, to_place, cluster ORDER BY from_place, program_id
        ) = 1 AS is_new
        FROM stays
    )
    WINDOW span AS (PARTITION BY niche, to_place ORDER BY from_place)
),
states AS (
    SELECT DISTINCT niche, from_place, programs, clusters, best_score,
        bool_or(event = 'founded' AND from_place > 0) OVER (PARTITION BY niche, from_place) AS was_reset
    FROM arrivals
),
moments AS (
    SELECT g.generation, g.place, i.niche
    FROM files.generations AS g, (SELECT DISTINCT niche FROM states) AS i WHERE g.run_id = the_run(run)
)
SELECT
    m.generation, m.place, m.niche, s.programs, s.clusters, s.best_score,
    s.was_reset AND s.from_place = m.place AS was_reset
FROM moments AS m ASOF JOIN states AS s ON s.niche = m.niche AND m.place >= s.from_place;

CREATE OR REPLACE MACRO niches_over_time(run) AS TABLE
SELECT generation, niche, programs, clusters, best_score, was_reset FROM niche_states(run) ORDER BY place, niche;

CREATE OR REPLACE MACRO duplicates(run) AS TABLE
SELECT
    count(*) AS times,
    arg_min(program_id, (place, index)) AS first_program_id,
    arg_min(generation, place) AS first_generation,
    arg_max(generation, place) AS last_generation,
    arg_min(outcome, (place, index)) AS outcome,
    max(score) AS score,
    list_sort(list(DISTINCT model)) AS models,
    arg_min(body, (place, index)) AS body
FROM programs_of(run) WHERE code_hash <> ''
GROUP BY code_hash HAVING count(*) > 1
ORDER BY times DESC, first_generation, first_program_id;
