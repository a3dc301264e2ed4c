-- One row per program and training input, for programs that are scored or fell below a threshold.
CREATE VIEW scores AS
SELECT
    run_id, generation, program_id,
    unnest(range(1, len(scores) + 1)) AS input,
    unnest(scores) AS score,
    unnest(list_transform(scores, lambda value: CASE WHEN value IS NULL THEN 'skipped' ELSE 'scored' END)) AS state,
    unnest(list_transform(scores, lambda value, place: nullif(notes[place], ''))) AS note
FROM files.programs WHERE len(scores) > 0;
