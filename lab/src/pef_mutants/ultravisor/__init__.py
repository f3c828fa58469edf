"""Faults of the Ultravisor."""
