-- One row a scored program and training input; inputs are counted from 1.
CREATE VIEW scores AS
SELECT run_id, generation, program_id, unnest(range(1, len(scores) + 1)) AS input, unnest(scores) AS score
FROM {programs} WHERE outcome = 'scored';
