"""A session: a tree of moves that a person makes on the small system, with a frame to look at for each.

| module | what it is |
|---|---|
| `session` | the tree, and the cursor in it |
| `position` | the machines at one node: a move is made and judged, or made again |
| `choices` | each action of each actor, and why one is not possible |
| `node` | what is kept of one move |
| `arrows` | the messages that a move let arrive |
| `why` | which check gave a code |
| `frame` | what a person sees at a node, as plain values; `showing` fills it in |
| `files` | counterexamples as sessions: their system, and their steps as moves |
| `export` | the path to the cursor as a counterexample, or as a diagram |
| `saved` | a whole session as JSON |
"""
