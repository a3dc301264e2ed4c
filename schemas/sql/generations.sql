-- One row a generation and attempt: those committed, and the attempts that failed.
CREATE VIEW generations AS
SELECT * FROM {generations}
UNION ALL BY NAME
SELECT * FROM {attempts};
