"""THE WORK, in rooms. They meet through `schemas` and `overnight.tasks.program`, the text of programs, only."""
