-- One row per stay of a program on an island, from the generation in which it joined to the one at whose end the island
-- was reset.
CREATE VIEW population AS
WITH events AS (
    SELECT
        * EXCLUDE (cluster),
        max(cluster) OVER (PARTITION BY run_id, program_id) AS cluster,
        count(*) FILTER (event = 'founded') OVER (
            PARTITION BY run_id, island ORDER BY generation, step
        ) AS founding
    FROM files.population
),
foundings AS (
    SELECT run_id, island, founding, min(generation) FILTER (event = 'founded') AS at_generation
    FROM events GROUP BY ALL
)
SELECT
    e.run_id, e.island, e.program_id, e.cluster, e.event,
    e.generation AS from_generation,
    f.at_generation AS to_generation
FROM events AS e
LEFT JOIN foundings AS f ON f.run_id = e.run_id AND f.island = e.island AND f.founding = e.founding + 1;
