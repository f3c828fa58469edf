"""The small system with its actors: its state, the moves that are possible, and what each does."""
