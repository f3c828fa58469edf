"""The recorded stage: every kind of file that the lab writes, as a cursor.

| module | kind of file |
|---|---|
| `counterexample` | a counterexample of `pef explore`: its steps are made again |
| `trace` | a recorded run of `pef designs --trace`: one event after the other |
| `rows` | conformance results of `pef rows --json`: one row after the other |
| `hostile` | attacks of `pef hostile --json`: each answer and each observation |
| `entries` | what the last three have in common: a list of entries, and a frame for each |
| `stage` | the stage over a list of entries |
| `reading` | which kind a file is, and how it is opened |
| `folder` | the files of a folder, by their names |
"""
