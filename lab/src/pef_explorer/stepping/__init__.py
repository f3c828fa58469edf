"""A session in a terminal: `pef step`.

| module | what it is |
|---|---|
| `command` | opens what is to be stepped through |
| `terminal` | the loop: shows a frame, reads a key, does what it means |
| `keys` | single keys of a terminal, or lines of whatever standard input is |
| `screen` | a frame as text |
"""
