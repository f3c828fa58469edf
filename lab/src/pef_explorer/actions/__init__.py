"""What guest, VMM and host memory management may do to a VM, and what its pages may then hold."""
