"""The morning report: the story of a run as one page of HTML that needs nothing else."""
