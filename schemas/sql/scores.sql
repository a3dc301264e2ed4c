-- One row a scored program and training input: input (counted from 1) and the score on it.
CREATE VIEW scores AS
SELECT run_id, generation, program_id, unnest(range(1, len(scores) + 1)) AS input, unnest(scores) AS score
FROM {programs} WHERE outcome = 'scored';
