"""Faults of the Hypervisor."""
