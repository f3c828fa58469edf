"""Normal memory: its bytes, its slots, and what is done to whole slots."""
