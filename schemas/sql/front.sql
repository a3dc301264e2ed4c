-- One row per scored program that no other of its run dominates in the score and the objectives of the problem.
CREATE VIEW front AS
WITH objectives AS (
    SELECT run_id, map_entries(CAST(settings::JSON -> '$.objectives.metrics' AS MAP(VARCHAR, VARCHAR))) AS wanted
    FROM files.runs WHERE json_array_length(json_keys(settings::JSON -> '$.objectives.metrics')) > 0
), points AS (
    SELECT run_id, program_id, generation, index, score, metrics, confirmed_score IS NOT NULL AS is_confirmed,
        list_prepend(score, list_transform(
            wanted, lambda one: CASE WHEN one.value = 'minimize' THEN -metrics[one.key] ELSE metrics[one.key] END
        )) AS goals
    FROM files.programs JOIN objectives USING (run_id)
    WHERE outcome = 'scored'
), firsts AS (
    SELECT arg_min(points, (generation, index)) AS point FROM points
    WHERE NOT list_contains(list_transform(goals, lambda one: one IS NULL), true)
    GROUP BY run_id, goals
)
SELECT mine.point.run_id, mine.point.program_id, mine.point.generation, mine.point.score, mine.point.metrics,
    mine.point.is_confirmed
FROM firsts AS mine
WHERE NOT EXISTS (
    FROM firsts AS other
    WHERE other.point.run_id = mine.point.run_id AND other.point.goals <> mine.point.goals
        AND list_bool_and(list_transform(mine.point.goals, lambda value, place: other.point.goals[place] >= value))
)
ORDER BY mine.point.run_id, mine.point.score DESC, mine.point.program_id;
