"""What both services run on, the same for both: HTTP in and out, effects, traces, settings."""
