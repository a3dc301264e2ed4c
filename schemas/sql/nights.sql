-- One row per night.
CREATE VIEW nights AS SELECT * FROM files.nights;
