-- One row per run, night and machine that evaluated programs of it, or lost them.
CREATE VIEW machines AS
WITH judged AS (
    SELECT
        evaluated.run_id, night, machine,
        count(*) AS candidates,
        count(*) FILTER (outcome = 'scored') AS scored,
        count(*) FILTER (outcome = 'sandbox_error') AS sandbox_errors,
        sum(wall_s) AS wall_s,
        median(wall_s) FILTER (outcome = 'scored') AS median_wall_s,
        avg(wall_s) AS mean_wall_s,
        60 * count(*) / nullif(epoch(max(judged_at)) - epoch(min(started_at)), 0) AS per_minute,
        min(judged_at) AS first_at,
        max(judged_at) AS last_at
    FROM files.programs AS evaluated
    LEFT JOIN files.generations AS its
        ON its.run_id = evaluated.run_id AND its.generation = evaluated.generation
    WHERE wall_s > 0 OR outcome = 'sandbox_error'
    GROUP BY evaluated.run_id, night, machine
), lost AS (
    SELECT run_id, night, entry.machine AS machine, entry.faults AS faults
    FROM (SELECT run_id, night, unnest(machine_faults) AS entry FROM files.nights)
)
SELECT
    coalesce(judged.run_id, lost.run_id) AS run_id,
    coalesce(judged.night, lost.night) AS night,
    coalesce(judged.machine, lost.machine) AS machine,
    coalesce(candidates, 0) AS candidates,
    coalesce(scored, 0) AS scored,
    coalesce(sandbox_errors, 0) AS sandbox_errors,
    coalesce(faults, 0) AS faults,
    coalesce(wall_s, 0.0) AS wall_s,
    median_wall_s, mean_wall_s, per_minute, first_at, last_at
FROM judged
FULL JOIN lost ON lost.run_id = judged.run_id AND lost.night = judged.night AND lost.machine = judged.machine;
