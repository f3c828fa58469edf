"""The explorer: both services' machines in one process, with everything that can happen to a small VM.

| folder | has |
|---|---|
| `checkpoints` | the state of each side as a plain value, and how it is put back |
| `machines` | both machines, the wire between them, small memory, and operations made step by step |
| `actions` | what each actor may do, and what the pages may hold afterwards |
| `world` | machines and actors together: the possible moves, and what each does |
| `invariants` | what must hold after each step |
| `search` | the exhaustive search, and its counterexamples |
| `simulation` | seeded random runs of larger systems, with the same machines and operations |

Each folder imports only those above it; search and simulation do not import each other.
"""
