-- One row per attempt at a generation: committed generations and failed attempts.
CREATE VIEW generations AS
SELECT * FROM files.generations
UNION ALL
SELECT * FROM files.attempts;
