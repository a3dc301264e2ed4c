-- One row per hint, pin, withdrawal or drop, with what was gained by it. Answers of a hint are those to prompts that say
-- its text as a paragraph, answers of a pin those whose base it was.
CREATE VIEW interventions AS
SELECT
    own.*,
    coalesce(answers.samples, 0) AS samples, coalesce(answers.scored, 0) AS scored, answers.gain, answers.best_score
FROM files.interventions AS own
LEFT JOIN (
    SELECT
        asked.run_id, asked.id, count(*) AS samples, count(score) AS scored, avg(gain) AS gain, max(score) AS best_score
    FROM files.interventions AS asked
    JOIN files.programs AS answer ON answer.run_id = asked.run_id AND answer.operator = 'hint'
        AND answer.generation >= asked.generation AND CASE asked.kind
            WHEN 'hint' THEN contains(answer.prompt, chr(10) || chr(10) || asked.text || chr(10))
            WHEN 'pin' THEN list_extract(answer.parent_ids, -1) = asked.program_id
            ELSE false END
    GROUP BY asked.run_id, asked.id
) AS answers ON answers.run_id = own.run_id AND answers.id = own.id
ORDER BY own.asked_at, own.id;
