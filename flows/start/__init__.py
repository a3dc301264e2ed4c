"""Start of a run: consent to its settings, its image and sandboxes, its row in the history."""
