"""What a VMM does: one module an operation."""
