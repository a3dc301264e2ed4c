"""THE LANGUAGE: problems, programs, outcomes, settings, errors, tables. No library that does the work is imported."""
