"""The HTTP routes beside the hypercalls: VMM, guest, memory bus."""
