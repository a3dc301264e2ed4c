-- One row per run, with totals over its committed generations, and all that was paid.
CREATE VIEW runs AS
SELECT r.*, g.generations, g.samples, coalesce(c.cost_usd, 0) AS cost_usd, g.best_score, g.best_program_id, g.start_score, g.ended_at,
    coalesce(c.unpriced > 0, false) AS has_unknown_costs
FROM files.runs AS r
LEFT JOIN (
    SELECT
        run_id,
        max(generation) AS generations,
        coalesce(sum(candidates) FILTER (night > 0), 0)::BIGINT AS samples,
        coalesce(arg_max(best_score, place), max(best_score)) AS best_score,
        arg_max(best_program_id, place) AS best_program_id,
        arg_min(best_score, place) FILTER (best_score IS NOT NULL) AS start_score,
        max(ended_at) AS ended_at
    FROM files.generations GROUP BY run_id
) AS g USING (run_id)
LEFT JOIN (
    SELECT run_id, sum(cost_usd) AS cost_usd, sum(unpriced) AS unpriced FROM costs GROUP BY run_id
) AS c USING (run_id);
