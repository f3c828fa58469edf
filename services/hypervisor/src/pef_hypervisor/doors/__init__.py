"""The HTTP doors beside the hypercalls: VMM, guest, memory bus, observer."""
