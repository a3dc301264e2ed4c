"""The history: Parquet files that are written atomically, and SQL over them.

Start reading at `files` (layout on disk), then `record` (writing and reading runs), `backends` (where a history is
kept) and `database` (SQL). Whatever reads a run raises `HistoryError` if a file of it is missing or damaged.
"""
