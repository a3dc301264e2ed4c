-- One row per run and night, and one for the start program: the best program at its end. The winner of a final evaluation
-- is the best until a later generation has a program that is better on the training inputs than all before.
CREATE VIEW winners AS
WITH nightly AS (
    SELECT run_id, night FROM generations WHERE state = 'committed'
    UNION SELECT run_id, night FROM nights
), trained AS (
    SELECT nightly.run_id, nightly.night, best.program_id, best.score
    FROM nightly ASOF LEFT JOIN (
        SELECT run_id, night, arg_max(best_program_id, place) AS program_id, arg_max(best_score, place) AS score
        FROM generations WHERE state = 'committed' AND best_score IS NOT NULL GROUP BY run_id, night
    ) AS best ON best.run_id = nightly.run_id AND nightly.night >= best.night
), judged AS (
    SELECT
        trained.run_id, trained.night, trained.program_id AS best_then,
        list_filter(finalists, lambda one: one.program_id = best_program_id)[1] AS finalist
    FROM nights JOIN trained ON trained.run_id = nights.run_id AND trained.night = nights.night
    WHERE len(finalists) > 0
)
SELECT
    now.run_id, now.night,
    coalesce(chosen.program_id, now.program_id) AS program_id,
    coalesce(chosen.train, now.score) AS train,
    chosen.validation, chosen.held_out, chosen.night AS chosen_in
FROM trained AS now ASOF LEFT JOIN (
    SELECT run_id, night, best_then, unnest(finalist) FROM judged
) AS chosen ON chosen.run_id = now.run_id AND chosen.best_then = now.program_id AND now.night >= chosen.night
ORDER BY now.run_id, now.night;
