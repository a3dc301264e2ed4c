-- One row per attempt at a generation: committed generations and failed attempts.
CREATE VIEW generations AS
FROM files.generations
UNION ALL
FROM files.attempts;
