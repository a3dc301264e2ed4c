"""From a completion to the code of a candidate."""
