-- One row a candidate, scored or not.
CREATE VIEW programs AS SELECT * REPLACE (coalesce(niche, island::VARCHAR) AS niche) FROM files.programs;
