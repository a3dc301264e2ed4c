-- One row per run and machine that evaluated programs of it.
CREATE VIEW machines AS
SELECT
    run_id, machine,
    count(*) AS candidates,
    count(*) FILTER (outcome = 'scored') AS scored,
    count(*) FILTER (outcome = 'sandbox_error') AS sandbox_errors,
    sum(wall_s) AS wall_s,
    median(wall_s) FILTER (outcome = 'scored') AS median_wall_s,
    min(judged_at) AS first_at,
    max(judged_at) AS last_at
FROM programs WHERE wall_s > 0 OR outcome = 'sandbox_error'
GROUP BY run_id, machine;
