-- One row per attempt at a generation: committed generations and failed attempts. The last attempt at a generation that
-- the night went on without is given up, until a retry commits it. Samples and costs add up in the order of commits.
CREATE VIEW generations AS
SELECT
    *, coalesce(sum(candidates) FILTER (generation > 0) OVER past, 0)::BIGINT AS samples_so_far,
    sum(cost_usd) OVER past AS cost_so_far_usd
FROM files.generations WINDOW past AS (PARTITION BY run_id ORDER BY place)
UNION ALL BY NAME
SELECT * REPLACE (
    CASE WHEN place IS NOT NULL AND (run_id, generation) NOT IN (SELECT (run_id, generation) FROM files.generations)
        THEN 'given up' ELSE state END AS state
)
FROM files.attempts;
