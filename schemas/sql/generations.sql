-- One row per attempt at a generation: committed generations and failed attempts. In files of older versions, the place
-- of a committed generation is its number.
CREATE VIEW generations AS
SELECT * REPLACE (coalesce(place, generation) AS place) FROM files.generations
UNION ALL
SELECT * FROM files.attempts;
