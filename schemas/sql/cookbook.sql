-- Twenty-two questions about the history. 'last' is the newest run; a run id or a unique prefix of one works, too.

-- What is the best score ever found for each problem, and by which run?
SELECT problem, max(best_score) AS best, arg_max(run_id, best_score) AS run_id, count(*) AS runs
FROM runs GROUP BY problem ORDER BY problem;

-- Which are the ten best programs of a run?
FROM best_programs('last');

-- How did the best score grow with samples, cost and time?
FROM progress('last');

-- Which programs raised the best score, and by how much?
FROM improvements('last');

-- How do runs compare after as many samples?
PIVOT (FROM progress()) ON run_id USING max(best_score) GROUP BY samples ORDER BY samples;

-- How long did the search go on after its last improvement?
SELECT count(*) FILTER (best_score = top) - 1 AS generations,
    max(samples) - min(samples) FILTER (best_score = top) AS samples
FROM (SELECT *, max(best_score) OVER () AS top FROM progress('last'));

-- From which programs does the best one descend?
FROM lineage((SELECT best_program_id FROM runs WHERE run_id = the_run('last')));

-- Which programs had the most descendants?
SELECT parent_id, count(*) AS children
FROM (SELECT unnest(parent_ids) AS parent_id FROM programs WHERE run_id = the_run('last'))
GROUP BY parent_id ORDER BY children DESC, parent_id LIMIT 10;

-- What are the outcomes of all descendants of the start program?
SELECT outcome, count(*) AS programs, max(depth) AS deepest
FROM descendants((SELECT program_id FROM programs WHERE run_id = the_run('last') AND generation = 0))
GROUP BY outcome ORDER BY programs DESC;

-- What did each model cost, and what was its best score?
FROM cost_by_model();

-- What share of each model's candidates is scored?
SELECT model, sum(candidates) AS candidates,
    round(100.0 * sum(candidates) FILTER (outcome = 'scored') / sum(candidates), 1) AS scored_percent
FROM outcomes_by_model() GROUP BY model ORDER BY scored_percent DESC;

-- What does an improvement cost, by model: USD for each program better than all its parents?
SELECT model, sum(cost_usd) AS cost_usd, count(*) FILTER (score > best_parent_score) AS improvements,
    sum(cost_usd) / nullif(count(*) FILTER (score > best_parent_score), 0) AS usd_each
FROM programs WHERE generation > 0 GROUP BY model ORDER BY usd_each;

-- Which errors are the most frequent?
FROM failures('last') LIMIT 10;

-- Which ideas of the models did best?
FROM ideas('last') LIMIT 10;

-- Which bodies are proposed most often?
SELECT times, first_program_id, outcome, score, body FROM duplicates('last') LIMIT 10;

-- What is the best score of each niche, and when was it reset?
SELECT niche, max(best_score) AS best, max(clusters) AS most_clusters, list(generation) FILTER (was_reset) AS resets
FROM niches_over_time('last') GROUP BY niche ORDER BY niche;

-- How many programs and clusters are in each niche now?
SELECT niche, count(*) AS programs, count(DISTINCT cluster) AS clusters
FROM population WHERE run_id = the_run('last') AND to_generation IS NULL GROUP BY niche ORDER BY niche;

-- On which inputs is the best program better than the start program?
SELECT input, start.score AS start, best.score AS best, best.score - start.score AS gain
FROM scores AS start JOIN scores AS best USING (run_id, input)
WHERE run_id = the_run('last') AND start.generation = 0
    AND best.program_id = (SELECT best_program_id FROM runs WHERE run_id = the_run('last'))
ORDER BY input;

-- What do the finalists score on the inputs that the search has not seen?
SELECT night, finalist.program_id, finalist.train, finalist.validation, finalist.held_out
FROM (SELECT night, unnest(finalists) AS finalist FROM nights WHERE run_id = the_run('last'))
ORDER BY night, finalist.validation DESC;

-- How much time do sampling, evaluation and selection take?
SELECT round(sum(sample_s), 1) AS sample_s, round(sum(evaluate_s), 1) AS evaluate_s,
    round(sum(select_s), 1) AS select_s, round(sum(epoch(ended_at - started_at)), 1) AS all_s
FROM generations WHERE run_id = the_run('last') AND generation > 0 AND state = 'committed';

-- How long do models take to answer, and candidates to run?
SELECT model, median(latency_s) AS latency_s, quantile_cont(latency_s, 0.95) AS latency_95_s,
    median(wall_s) AS wall_s, max(peak_mib) AS most_mib
FROM programs WHERE generation > 0 GROUP BY model ORDER BY model;

-- Why did each night end, and by how much did the best score improve?
SELECT run_id, night, stop_reason, generations, samples, cost_usd, best_after - best_before AS gain
FROM nights ORDER BY started_at;
