"""Counterexamples as files: read, drawn, and played over HTTP against real services.

| module | what it is |
|---|---|
| `counterexample` | the file: who did what in which order, and what was seen |
| `between` | the go-between on the wire from one service to the other |
| `traffic` | whose message is whose, and which are held until the schedule lets them go |
| `wire` | a pair with a go-between each way |
| `stage` | the small system of a file, on a VM with a real guest image |
| `player` | plays the steps and compares |
| `drawing` | the steps as a sequence, in a terminal or as Mermaid |
| `command` | what `pef replay` and `pef trace` do |
"""
