"""What the Hypervisor knows of each GFN: the transition tables, and the columns."""
