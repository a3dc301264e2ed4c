-- One row per program, training input and metric, for inputs on which the program got a score.
CREATE VIEW program_metrics AS
SELECT run_id, generation, program_id, metric, unnest(range(1, len(by_input) + 1)) AS input, unnest(by_input) AS value
FROM (
    SELECT run_id, generation, program_id, entry.key AS metric, entry.value AS by_input
    FROM (
        SELECT run_id, generation, program_id, unnest(map_entries(metrics_by_input)) AS entry FROM files.programs
    )
);
