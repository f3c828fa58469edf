"""The exhaustive search over everything that can happen to a small VM."""
