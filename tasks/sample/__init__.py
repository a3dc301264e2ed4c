"""From selected parents to candidates: prompts, models, completions, bodies."""
