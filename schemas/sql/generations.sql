-- One row per attempt at a generation: committed generations and failed attempts. The last attempt at a generation that
-- the night went on without is given up, until a retry commits it.
CREATE VIEW generations AS
FROM files.generations
UNION ALL
SELECT * REPLACE (
    CASE WHEN place IS NOT NULL AND (run_id, generation) NOT IN (SELECT (run_id, generation) FROM files.generations)
        THEN 'given up' ELSE state END AS state
)
FROM files.attempts;
