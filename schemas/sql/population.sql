-- One row per stay of a program in a niche, from the generation in which it joined to the one at whose end the niche
-- was reset. Version 0.1 wrote the number of an island only. An expansion is no stay, nor is that of a program whose confirmation failed. Generations count in the order in
-- which they were committed: their places, or their numbers in files of older versions.
CREATE VIEW population AS
WITH events AS (
    SELECT
        own.* EXCLUDE (cluster, samples) REPLACE (coalesce(own.niche, own.island::VARCHAR) AS niche),
        coalesce(its.place, own.generation) AS place,
        max(own.cluster) OVER (PARTITION BY own.run_id, own.program_id) AS cluster,
        count(*) FILTER (own.event = 'founded') OVER (
            PARTITION BY own.run_id, coalesce(own.niche, own.island::VARCHAR)
            ORDER BY coalesce(its.place, own.generation), own.step
        ) AS founding
    FROM files.population AS own
    LEFT JOIN files.generations AS its ON its.run_id = own.run_id AND its.generation = own.generation
    WHERE own.event IN ('joined', 'founded')
        AND NOT EXISTS (
            FROM files.population AS fallen
            WHERE fallen.run_id = own.run_id AND fallen.program_id = own.program_id AND fallen.event = 'removed'
        )
),
foundings AS (
    SELECT run_id, niche, founding, min(generation) AS at_generation, min(place) AS at_place
    FROM events WHERE event = 'founded' GROUP BY ALL
)
SELECT
    e.run_id, e.island, e.program_id, e.cluster, e.event,
    e.generation AS from_generation,
    f.at_generation AS to_generation,
    e.niche,
    e.place AS from_place,
    f.at_place AS to_place
FROM events AS e
LEFT JOIN foundings AS f ON f.run_id = e.run_id AND f.niche = e.niche AND f.founding = e.founding + 1;
