"""The routes of the console, one module per group."""
