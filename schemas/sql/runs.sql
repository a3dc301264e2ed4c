-- One row a run, with what its committed generations add up to: generations (the last one's number), samples, cost_usd,
-- best_score and best_program_id after the last, start_score (of the start program), ended_at (of the last generation).
CREATE VIEW runs AS
SELECT r.*, g.generations, g.samples, g.cost_usd, g.best_score, g.best_program_id, s.score AS start_score, g.ended_at
FROM {runs} AS r
LEFT JOIN (
    SELECT
        run_id,
        max(generation) AS generations,
        sum(candidates) FILTER (generation > 0)::BIGINT AS samples,
        sum(cost_usd) AS cost_usd,
        max(best_score) AS best_score,
        arg_max(best_program_id, generation) AS best_program_id,
        max(ended_at) AS ended_at
    FROM {generations} GROUP BY run_id
) AS g USING (run_id)
LEFT JOIN (SELECT run_id, best_score AS score FROM {generations} WHERE generation = 0) AS s USING (run_id);
