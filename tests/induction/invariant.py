"""The invariant, written by hand: what may stand together, and what each thing in flight says.

It is inductive: the start satisfies it, and no rule leads out of it. So it holds of every state to which any
number of calls lead, in any order.
"""

from induction.byte_clauses import byte_clauses
from induction.clause import Clause
from induction.design import Tables
from induction.gfn_clauses import gfn_clauses
from induction.properties import properties
from induction.vm_clauses import vm_clauses
from induction.words import Words
from pef_protocol.designs import DesignName


def invariant(name: DesignName, tables: Tables) -> list[Clause]:
    """Return the clauses of the invariant of a design, the properties among them."""
    words = Words.of(tables)
    return [
        *vm_clauses(tables, words),
        *gfn_clauses(words),
        *byte_clauses(words),
        *properties(name),
    ]
