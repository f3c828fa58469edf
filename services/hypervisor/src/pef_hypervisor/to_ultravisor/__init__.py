"""What the Hypervisor asks of the Ultravisor."""
