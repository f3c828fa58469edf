"""The explorer: both machines in one process, stepped one yield at a time, everywhere they can go."""
