"""Ultracalls of the Hypervisor. It is not trusted: each argument is checked, in the order of the protocol."""
