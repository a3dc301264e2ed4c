-- One row per night, without the programs that people dropped among its best and its finalists. A night that was killed counts what it committed and paid for, though its own row may be a minute older.
CREATE VIEW nights AS
SELECT
    own.* REPLACE (
        greatest(own.generations, committed.generations)::INTEGER AS generations,
        coalesce(committed.samples, own.samples)::INTEGER AS samples,
        greatest(own.cost_usd, paid.cost_usd) AS cost_usd,
        CASE WHEN gone.ids IS NULL AND own.ended_at IS NOT NULL THEN own.best_after
            ELSE coalesce(committed.best_after, own.best_after) END AS best_after,
        CASE WHEN gone.ids IS NULL THEN own.finalists
            ELSE list_filter(own.finalists, lambda one: NOT list_contains(gone.ids, one.program_id)) END AS finalists,
        CASE WHEN own.ended_at IS NOT NULL AND list_contains(gone.ids, own.best_program_id) THEN coalesce(
                list_filter(own.finalists, lambda one: NOT list_contains(gone.ids, one.program_id))[1].program_id,
                committed.best_program_id, own.best_program_id
            )
            WHEN own.ended_at IS NULL THEN coalesce(committed.best_program_id, own.best_program_id)
            ELSE own.best_program_id END AS best_program_id
    ),
    coalesce(own.ended_at, committed.last_commit, own.started_at) AS seen_at,
    -- One night of a run at a time: where a later one has begun, an earlier one has ended or was killed.
    CASE WHEN own.ended_at IS NOT NULL THEN 'ended'
        WHEN own.given_up IS NOT NULL THEN 'given up'
        WHEN own.night < max(own.night) OVER (PARTITION BY own.run_id) THEN 'killed'
        WHEN own.alive_until > now() OR own.run_id IN (SELECT run_id FROM files.alive) THEN 'running'
        ELSE 'killed' END AS state,
    coalesce(paid.unpriced > 0, false) AS has_unknown_costs
FROM files.nights AS own
LEFT JOIN (
    SELECT
        run_id, night, count(*) AS generations, sum(candidates) AS samples,
        coalesce(arg_max(best_score, place), max(best_score)) AS best_after,
        arg_max(best_program_id, place) AS best_program_id,
        max(ended_at) AS last_commit
    FROM files.generations WHERE generation > 0 GROUP BY run_id, night
) AS committed ON committed.run_id = own.run_id AND committed.night = own.night
LEFT JOIN (
    SELECT run_id, night, sum(cost_usd) AS cost_usd, sum(unpriced) AS unpriced FROM costs GROUP BY run_id, night
) AS paid ON paid.run_id = own.run_id AND paid.night = own.night
LEFT JOIN (
    SELECT run_id, list(program_id) AS ids FROM files.interventions WHERE kind = 'drop' GROUP BY run_id
) AS gone ON gone.run_id = own.run_id
ORDER BY own.started_at, own.run_id, own.night;
