-- One row per candidate, scored or not. Samples are counted in the order in which generations were committed.
CREATE VIEW programs AS
WITH places AS (
    SELECT run_id, generation, night, candidates, place, samples_so_far - candidates AS samples_before
    FROM generations WHERE state = 'committed'
), parents AS (
    SELECT child.run_id, child.program_id, max(parent.score) AS best_parent_score
    FROM (SELECT run_id, program_id, unnest(parent_ids) AS parent_id FROM files.programs) AS child
    JOIN files.programs AS parent ON parent.run_id = child.run_id AND parent.program_id = child.parent_id
    GROUP BY child.run_id, child.program_id
)
SELECT
    own.*,
    CASE
        WHEN own.generation = 0 OR own.model = '' THEN NULL
        WHEN own.model = 'builtin/tuner' THEN 'tuner'
        WHEN own.model = 'builtin/pruner' THEN 'pruner'
        WHEN regexp_matches(own.model, '^(agent|command|relay):') THEN split_part(own.model, ':', 1)
        ELSE 'prompt'
    END AS proposer,
    CASE WHEN own.generation = 0 OR places.night = 0 THEN 0 ELSE coalesce(samples_before, 0) + least(
        row_number() OVER (PARTITION BY own.run_id, own.generation ORDER BY own.index), places.candidates
    ) END::BIGINT AS sample,
    places.night,
    best_parent_score,
    own.generation > 0 AND coalesce(own.score > max(own.score) OVER (
        PARTITION BY own.run_id ORDER BY places.place, own.index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), false) AS is_record,
    places.place
FROM files.programs AS own
LEFT JOIN places ON places.run_id = own.run_id AND places.generation = own.generation
LEFT JOIN parents ON parents.run_id = own.run_id AND parents.program_id = own.program_id;
