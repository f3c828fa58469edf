"""Twelve lessons on the trust boundary of a secure VM, each with an end that a machine checks.

    pef lesson list                 what there is
    pef lesson start 7              the text, and the lesson in the terminal
    pef lesson check FILE           has this hand-in reached the goal?
    pef lesson grade DIR            all hand-ins of a class

| module or folder | has |
|---|---|
| `lesson` | what a lesson is: start, milestones, questions, hints, and the verdict on a session |
| `history` | the moves of a session with the frame after each, and the actions that they make up |
| `script` | moves as lines of text, for openings and solutions |
| `lessons` | one module per lesson |
| `all_lessons` | the lessons by number |
| `hand_in` | the file that a student hands in, and how it is read with bounds |
| `grading` | the verdict on each hand-in of a folder |
| `pages` | the lessons as pages of `docs/lessons` |
| `command` | `pef lesson` |

Each imports only those above it. Every verdict comes from moves that are made again in the services' own
code, never from what a hand-in says about itself.
"""
