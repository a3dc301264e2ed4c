-- One row per stay of a program in a niche, from the generation in which it joined to the one at whose end the niche
-- was reset. Version 0.1 wrote the number of an island only. An expansion is no stay.
CREATE VIEW population AS
WITH events AS (
    SELECT
        * EXCLUDE (cluster, samples) REPLACE (coalesce(niche, island::VARCHAR) AS niche),
        max(cluster) OVER (PARTITION BY run_id, program_id) AS cluster,
        count(*) FILTER (event = 'founded') OVER (
            PARTITION BY run_id, coalesce(niche, island::VARCHAR) ORDER BY generation, step
        ) AS founding
    FROM files.population WHERE event <> 'expanded'
),
foundings AS (
    SELECT run_id, niche, founding, min(generation) FILTER (event = 'founded') AS at_generation
    FROM events GROUP BY ALL
)
SELECT
    e.run_id, e.island, e.program_id, e.cluster, e.event,
    e.generation AS from_generation,
    f.at_generation AS to_generation,
    e.niche
FROM events AS e
LEFT JOIN foundings AS f ON f.run_id = e.run_id AND f.niche = e.niche AND f.founding = e.founding + 1;
