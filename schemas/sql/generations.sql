-- One row a generation and attempt: those committed, and the attempts that failed.
CREATE VIEW generations AS
SELECT * FROM files.generations
UNION ALL
SELECT * FROM files.attempts;
