-- One row per stay of a program in a niche, from the generation in which it joined to the one at whose end the niche
-- was reset. An expansion is no stay, nor is that of a program whose confirmation failed or that a person dropped. Generations count in the
-- order in which they were committed: by their places.
CREATE VIEW population AS
WITH events AS (
    SELECT
        own.* EXCLUDE (cluster, samples), its.place,
        max(own.cluster) OVER (PARTITION BY own.run_id, own.program_id) AS cluster,
        count(*) FILTER (own.event = 'founded') OVER (
            PARTITION BY own.run_id, own.niche ORDER BY its.place, own.step
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
    e.run_id, e.program_id, e.cluster, e.event,
    e.generation AS from_generation,
    f.at_generation AS to_generation,
    e.niche,
    e.place AS from_place,
    f.at_place AS to_place
FROM events AS e
LEFT JOIN foundings AS f ON f.run_id = e.run_id AND f.niche = e.niche AND f.founding = e.founding + 1
WHERE NOT EXISTS (
    FROM files.interventions AS gone
    WHERE gone.run_id = e.run_id AND gone.program_id = e.program_id AND gone.kind = 'drop'
);
