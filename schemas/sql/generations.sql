-- One row per attempt at a generation: committed generations and failed attempts. The last attempt at a generation that
-- the night went on without is given up, until a retry commits it; what was paid for it is the cost of this attempt. One
-- whose agent works beside prompts is put off, and is there once: in its place until its answer is committed.
-- Samples and costs add up in the order of commits; programs that a run began with, of night 0, are no samples.
CREATE VIEW generations AS
SELECT
    *, coalesce(sum(candidates) FILTER (night > 0) OVER past, 0)::BIGINT AS samples_so_far,
    sum(cost_usd) OVER past AS cost_so_far_usd
FROM files.generations WINDOW past AS (PARTITION BY run_id ORDER BY place)
UNION ALL BY NAME
SELECT own.* REPLACE (
    CASE WHEN place IS NOT NULL AND state <> 'put off' AND (own.run_id, own.generation) NOT IN (
        SELECT (run_id, generation) FROM files.generations
    ) THEN 'given up' ELSE state END AS state,
    coalesce(paid.tokens_in, own.tokens_in) AS tokens_in,
    coalesce(paid.tokens_out, own.tokens_out) AS tokens_out,
    coalesce(paid.tokens_cached, own.tokens_cached) AS tokens_cached,
    coalesce(paid.cost_usd, own.cost_usd) AS cost_usd
)
FROM files.attempts AS own
LEFT JOIN (
    SELECT run_id, generation, max(attempt) AS attempt FROM files.attempts GROUP BY ALL
) AS last USING (run_id, generation, attempt)
LEFT JOIN (
    SELECT
        run_id, generation, sum(tokens_in)::BIGINT AS tokens_in, sum(tokens_out)::BIGINT AS tokens_out,
        sum(tokens_cached)::BIGINT AS tokens_cached, sum(cost_usd) AS cost_usd
    FROM files.journals GROUP BY ALL
) AS paid ON paid.run_id = last.run_id AND paid.generation = last.generation
WHERE own.state <> 'put off' OR (own.run_id, own.generation) NOT IN (
    SELECT (run_id, generation) FROM files.generations
    UNION ALL SELECT (run_id, generation) FROM files.attempts WHERE state <> 'put off' AND place IS NOT NULL
);
