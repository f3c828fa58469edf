"""What the Ultravisor may ask: one module a hypercall."""
