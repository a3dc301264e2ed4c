-- One row a night.
CREATE VIEW nights AS SELECT * FROM files.nights;
