-- One row per candidate, scored or not.
CREATE VIEW programs AS SELECT * FROM files.programs;
