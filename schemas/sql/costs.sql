-- What was paid, one row per run, generation, night, model and purpose: of committed generations as these have it, of
-- others as their journals have it. Older generations have no such sums: theirs are those of their programs and questions,
-- each in the night in which it was asked, and what no program has, without its model.
CREATE VIEW costs AS
WITH older AS (
    SELECT run_id, generation, night, unused_usd FROM files.generations WHERE paid IS NULL
), answers AS (
    SELECT
        run_id, generation, asked_at, model, 'sample' AS purpose,
        tokens_in::BIGINT AS tokens_in, tokens_out::BIGINT AS tokens_out, tokens_cached::BIGINT AS tokens_cached, cost_usd
    FROM files.programs SEMI JOIN older USING (run_id, generation) WHERE model <> ''
    UNION ALL BY NAME
    SELECT
        run_id, generation, asked_at, model, 'question' AS purpose,
        tokens_in::BIGINT AS tokens_in, tokens_out::BIGINT AS tokens_out, tokens_cached::BIGINT AS tokens_cached, cost_usd
    FROM files.questions SEMI JOIN older USING (run_id, generation)
)
SELECT run_id, generation, unnest(paid, max_depth := 2) FROM files.generations
UNION ALL BY NAME
FROM files.journals
UNION ALL BY NAME
SELECT
    own.run_id, own.generation, coalesce(its.night, 0) AS night, model, purpose,
    sum(tokens_in)::BIGINT AS tokens_in, sum(tokens_out)::BIGINT AS tokens_out,
    sum(tokens_cached)::BIGINT AS tokens_cached, sum(own.cost_usd) AS cost_usd,
    (count(*) - count(own.cost_usd))::INTEGER AS unpriced
FROM answers AS own
ASOF LEFT JOIN files.nights AS its ON its.run_id = own.run_id AND own.asked_at >= its.started_at
GROUP BY ALL
UNION ALL BY NAME
SELECT
    run_id, generation, night, 'unused' AS purpose, 0 AS unpriced,
    unused_usd - coalesce(asked.cost_usd, 0) AS cost_usd
FROM older LEFT JOIN (
    SELECT run_id, generation, sum(cost_usd) AS cost_usd FROM answers WHERE purpose = 'question' GROUP BY ALL
) AS asked USING (run_id, generation)
WHERE unused_usd - coalesce(asked.cost_usd, 0) > 1e-9;
