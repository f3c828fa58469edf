"""The console: a page on which a person sees both sides of a secure VM, steps through it, and breaks it.

A third process, on loopback. It is no part of a visor, nobody imports it, and no token of the protocol leaves
it.

| module | subject |
|---|---|
| `command` | `pef console` as it is typed |
| `serving` | listens, prints the URL, serves until Ctrl-C |
| `app` | the FastAPI application: routes, errors, page |
| `security` | the console's own secret, its cookie, Host, Origin, headers and the limit of a body |
| `sessions` | all sessions, their limits and their idle end |
| `session` | one session: a stage, one command at a time, and its followers |
| `followers` | server-sent events: one encoded frame for all followers; the latest wins |
| `stage` | what each stage must do: model, recorded, live |
| `stages` | opens what the console shows by itself; `openers` and `catalogue`: what there is |
| `machines` | the one thread in which machines run; `apart`: a long verdict in a process of its own |
| `model`, `lesson`, `recorded` | the stages; `known_lessons`: the lessons that are installed |
| `routes` | one module per group of routes |
"""
