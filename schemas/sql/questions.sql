-- One row per question that the scoring asked a model. A question is there twice if a night was killed while it committed
-- the answer; the first counts.
CREATE VIEW questions AS
SELECT own.*, first.program_id
FROM (
    FROM files.questions QUALIFY row_number() OVER (PARTITION BY run_id, key ORDER BY generation) = 1
) AS own
LEFT JOIN (
    SELECT run_id, code_hash, arg_min(program_id, (generation, index)) AS program_id
    FROM files.programs WHERE generation > 0 GROUP BY run_id, code_hash
) AS first ON first.run_id = own.run_id AND first.code_hash = own.code_hash
ORDER BY own.asked_at, own.key;
