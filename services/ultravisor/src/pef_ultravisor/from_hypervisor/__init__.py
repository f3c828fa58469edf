"""Ultracalls that the Hypervisor may make. It is not trusted: each argument is checked, in ladder order."""
