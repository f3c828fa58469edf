"""All rules of a design."""

from induction.design import Tables
from induction.hypervisor_steps import add_hypervisor_steps
from induction.rule import Rules
from induction.ultracalls import add_ultracalls
from induction.ultravisor_steps import add_ultravisor_steps
from induction.vm_steps import add_vm_steps


def rules_of(tables: Tables) -> Rules:
    """Return every step that may happen to one GFN under these tables."""
    rules = Rules()
    add_ultracalls(rules, tables)
    add_hypervisor_steps(rules, tables)
    add_ultravisor_steps(rules, tables)
    add_vm_steps(rules, tables)
    return rules
