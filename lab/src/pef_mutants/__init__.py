"""Mutants: our own services with one deliberate fault each, for lessons and for tests.

    python -m pef_mutants                   list all mutants
    python -m pef_mutants serve K4          keep a pair up whose Hypervisor has K4

| module or folder | has |
|---|---|
| `exchange` | how a fault is put into running code, and taken out again |
| `mutant` | what a mutant is: an id, a side, a sentence, and how it is applied |
| `answers`, `checks`, `meddling` | faults that either side can have |
| `ultravisor`, `hypervisor` | faults of one side |
| `triggered` | what must be done for a fault to show itself, where nobody honest ever does it |
| `registry` | the defects of the real firmware and of the real kernel |
| `all_mutants` | these, and all others |
| `service` | one service with mutants in it, as a process |

Each imports only those above it. No service and no other package imports this one, and it is in no image.
"""
