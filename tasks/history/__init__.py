"""What is kept: Parquet files, written whole or not at all, and SQL over them."""
