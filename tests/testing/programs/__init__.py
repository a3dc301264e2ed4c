"""Programs that a sandbox must survive, by what they try, each with the verdict that it must get."""
