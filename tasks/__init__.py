"""THE WORK, in rooms. They meet through `schemas` and `tasks.program`, the text of programs, only."""
