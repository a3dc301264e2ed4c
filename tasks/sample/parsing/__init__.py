"""Parse completions into the code of candidates."""
